"""Performance: the last 24 hours of a random vehicle over HTTP, on a fleet day, while 333 readings a second come in.

One client, one request at a time; then eight. `SQL alone` is the execution time of the same query by EXPLAIN ANALYZE,
the median over random vehicles. For comparison the same rows are copied, in their order, into tables with only an
index on (id, time), and read by the same query. In the short form Postgres generates a day of 1,500 vehicles, and
VACUUM is run by hand.
"""

import random
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg

from bench.bench import Bench
from bench.figures.reading.day import Day, present_day
from bench.fleet import vehicle_id
from bench.load import clients, full_speed
from bench.measured import Goal, Value, median
from bench.stack import ENGINE
from models.analytics.energy.performance import get_performance

PATH = "/v1/analytics/performance/V-%05d"
LABEL = "performance of a vehicle"
TRICKLE = 333  # readings a second
VEHICLES, WARM_UP = 200, 20  # for the SQL alone, after the warm-up
PLAIN = {"meter_readings_history": "plain_meter_readings", "vehicle_readings_history": "plain_vehicle_readings"}
DEVICE = {"meter_readings_history": "meter_id", "vehicle_readings_history": "vehicle_id"}


def measure(bench: Bench) -> list[Value]:
    day = present_day(bench)
    values = [
        *over_http(bench, day, "performance", LABEL),
        sql_alone(bench, day, "performance", f"{LABEL}, the SQL alone"),
    ]
    with bench.stack.connect() as connection, _plain_copies(connection, bench.show):
        samples = _explain(connection, day, bench.show, PLAIN)
    label = f"{LABEL}, the SQL over a plain (id, time) index"
    return [*values, Value("performance.plain_sql", label, median(samples), "ms", None, samples)]


def over_http(bench: Bench, day: Day, key: str, label: str) -> list[Value]:
    bench.stack.engine(*ENGINE)
    one = bench.plan("get", 1, path=PATH, choices=day.pairs, seconds=bench.seconds(30, 6))
    eight = bench.plan("get", 8, path=PATH, choices=day.pairs, seconds=bench.seconds(10, 4))
    with clients.beside(bench.plan("singles", 16, rate=TRICKLE)):
        full_speed.send(bench.plan("get", 1, path=PATH, choices=day.pairs, seconds=bench.seconds(10, 2)), bench.show)
        alone, many = full_speed.send(one, bench.show), full_speed.send(eight, bench.show)
    rate, note = (
        f"{alone.requests / alone.seconds:,.0f} requests/s, one client",
        f"p50 {many.p50_ms:.1f} ms, p99 {many.p99_ms:.1f} ms",
    )
    return [
        Value(f"{key}.p50", f"{label}, HTTP p50", alone.p50_ms, "ms", Goal(most=3), note=rate),
        Value(f"{key}.p99", f"{label}, HTTP p99", alone.p99_ms, "ms", Goal(most=15)),
        Value(f"{key}.eight", f"{label}, eight clients", many.requests / many.seconds, "/s", note=note),
    ]


def sql_alone(bench: Bench, day: Day, key: str, label: str) -> Value:
    with bench.stack.connect() as connection:
        samples = _explain(connection, day, bench.show, {})
    return Value(f"{key}.sql", label, median(samples), "ms", Goal(most=1), samples)


class _Recorded(psycopg.ClientCursor):
    """Records the statements that it runs, with their values."""

    def execute(self, query, params=None, **options):
        self.connection.recorded.append(self.mogrify(query, params))
        return super().execute(query, params, **options)


def _explain(connection: psycopg.Connection, day: Day, show, tables: dict[str, str]) -> list[float]:
    """Milliseconds of execution for each of some random vehicles, in no particular order."""
    connection.execute("set jit = off")  # as on the engine's connections
    statements = _statements(connection)
    asked = random.sample(range(1, day.pairs), min(WARM_UP + VEHICLES, day.pairs - 1))
    samples = []
    for done, pair in enumerate(asked):
        taken = 0.0
        for statement in statements:
            for theirs, ours in tables.items():
                statement = statement.replace(theirs, ours)
            statement = statement.replace(vehicle_id(0), vehicle_id(pair))
            plan = connection.execute(f"explain (analyze, timing off, format json) {statement}").fetchone()[0]
            taken += plan[0]["Execution Time"]
        samples.append(taken)
        show(done / len(asked), "the SQL alone")
    return samples[WARM_UP:]


def _statements(connection: psycopg.Connection) -> list[str]:
    """The engine's statements for the first vehicle's last 24 hours."""
    end = datetime.now(UTC).replace(microsecond=0)
    connection.cursor_factory, connection.recorded = _Recorded, []
    get_performance(connection, vehicle_id(0), end - timedelta(days=1), end, heartbeat_seconds=60)
    connection.cursor_factory = psycopg.Cursor
    return connection.recorded


@contextmanager
def _plain_copies(connection: psycopg.Connection, show):
    try:
        for theirs, ours in PLAIN.items():
            show(0, f"copying {theirs} for the plain index")
            connection.execute(f"create table {ours} as select * from {theirs}")
            connection.execute(f"create index on {ours} ({DEVICE[theirs]}, recorded_at)")
            connection.execute(f"vacuum (analyze) {ours}")
        yield
    finally:
        for ours in PLAIN.values():
            connection.execute(f"drop table if exists {ours}")
