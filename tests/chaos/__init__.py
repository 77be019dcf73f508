"""The conservation harness: the real stack, devices that post numbered readings, faults, and an audit.

`accepted readings = stored + dead-lettered`, each exactly once, whatever dies. Every reading carries a number, and
all that is in it follows from that number and from its submission, so that the audit can tell for each row of the
database whether it may be there, how often, and with which content.

    readings.py   what the reading with number n says
    devices.py    threads that submit readings and try again as devices do
    ledger.py     every submission, and what each attempt was answered
    stack.py      the stack as `make up` runs it, and a second Celery worker (kept_worker.py)
    faults.py     what a fault is; the faults are in process_, server_ and data_faults.py
    audit.py      ledger against history, live rows, dead letters, receipts and positions (queries.py)
    trials.py     a fault, the recovery from it, the audit

`make test` inflicts each fault once (test_chaos.py), `make chaos` all at random for as long as is asked.
"""
