"""`make bench`: measures the engine on this machine, beside its alternatives.

It runs servers and processes of its own, as `make up` and a deployment do: both servers flush to disk, every request
has an API key and a line in the log. docs/benchmarks.md explains each figure.

    __main__.py  the command
    figures/     a module for each figure: `measure(bench)` returns values
    ratios.py    comparisons of figures
    ground.py    the servers, in a folder that is deleted at the end
    stack.py     the engine's processes on them, and their state
    load/        the clients: wrk, and the load tool's pacer
    fleet.py     10,000 vehicles of the load tool's synthetic fleet
    backlog.py   entries put straight into the stream; drainer.py drains them without Celery
    watch.py     samples stored readings, backlog and CPU while a load runs
    baselines/   what the engine is compared with; no part of the product
    report.py    the table and the JSON file
"""


class BenchError(Exception):
    """A figure or the whole run failed; the message has the reason and what to do."""
