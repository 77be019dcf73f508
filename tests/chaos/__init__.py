"""Chaos tests: the real stack, devices that post numbered readings, faults, and an audit.

They hold that `accepted readings = stored + dead-lettered`, each exactly once, whatever crashes. Every reading has a
number; its content follows from the number and the submission. So the audit can decide for each row of the database
whether it may exist, how often, and with which content.

    readings.py   the content of the reading with number n
    devices.py    threads that submit readings and try again as devices do
    ledger.py     every submission, with the outcome of each attempt
    stack.py      the stack as `make up` runs it, and a second Celery worker (kept_worker.py)
    faults.py     the type of a fault; the faults are in process_, server_ and data_faults.py
    audit.py      compares the ledger with history, live rows, dead letters, receipts and positions (queries.py)
    trials.py     a fault, the recovery from it, the audit

`make test` inflicts each fault once (test_chaos.py), `make chaos` all at random for a given time.
"""
