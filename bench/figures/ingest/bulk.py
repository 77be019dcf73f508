"""Bulk: 1,000 readings a request, stored a second.

The requests are a fleet day in its order: minute by minute, the 20,000 readings of a minute in 20 requests. Otherwise
like single readings.
"""

from bench import fleet
from bench.bench import Bench
from bench.figures.ingest.sustained import Load, measure_sustained
from bench.measured import Goal, Value

CONNECTIONS = 8
READINGS = 1_000  # a request
MOST_WAITING = 300  # entries


def measure(bench: Bench) -> list[Value]:
    start = fleet.day_start().isoformat()
    plan = bench.plan("minutes", CONNECTIONS, seconds=bench.seconds(60, 12), start=start, size=READINGS)
    load = Load(plan, READINGS, MOST_WAITING)
    return measure_sustained(bench, "bulk.stored", "bulk readings stored", load, Goal(least=120_000))
