"""`make bench`: how fast the engine is on this machine, beside what somebody would write or use instead.

Everything in one go, on servers and processes of its own, as `make up` and a deployment run them: both servers
flush to disk, every request shows an API key and leaves a line in the log. docs/benchmarks.md says what each
figure means.

    __main__.py  the command
    figures/     a module a figure: `measure(bench)` returns plain values
    ratios.py    what is compared with what
    ground.py    the servers, in a folder that is deleted at the end
    stack.py     the engine's processes on them, and what is in it
    day.py       the rows that are read; backlog.py, drainer.py: what waits, and a drain of it alone
    load/        the clients: wrk, and one in Python that keeps to a rate
    sustained.py how the ingest figures are taken
    fleet.py     the devices and what they send
    watch.py     what is stored, what waits, and who works, while a load runs
    baselines/   what the engine is compared with; no part of the product
    report.py    the table and the JSON file
"""


class BenchError(Exception):
    """A figure, or the whole run, can't be taken; the message says why and what to do."""
