"""Single readings: one reading a request, accepted and stored a second.

10,000 meters and 10,000 vehicles send at random, each request with an API key. The rate is that of Postgres's commits,
from commit to commit, without the first two seconds. sustained.py keeps the backlog from growing. At the end history
must have as many readings as were accepted.
"""

from bench.bench import Bench
from bench.figures.ingest.sustained import Load, measure_sustained
from bench.measured import Goal, Value

CONNECTIONS = 128
MOST_WAITING = 20_000  # entries


def measure(bench: Bench) -> list[Value]:
    plan = bench.plan("singles", CONNECTIONS, seconds=bench.seconds(60, 12))
    load = Load(plan, readings=1, most_waiting=MOST_WAITING)
    return measure_sustained(bench, "singles.stored", "single readings stored", load, Goal(least=12_000))
