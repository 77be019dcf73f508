"""Load for a running API, over HTTP alone: this package imports no part of the engine.

    load.py        `energy load`: posts readings and reports what became of them (sending.py, receipts.py)
    simulate.py    `energy simulate`: a fleet that sends its readings every minute
    fleet.py       the synthetic vehicles and what they measure; bodies.py: their readings as JSON, made fast
    pacer.py       sends requests at a rate over many connections
    connection.py  one HTTP connection; api.py: single requests for commands
    terminal.py    progress bars and tables

`bench` and `tests/chaos` use the same fleet, connections and pacer.
"""
