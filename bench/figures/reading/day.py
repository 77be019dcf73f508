"""The rows of the reading figures: a fleet day, and further days before it.

A whole day is sent through the API, as the fleet would do it. In the short form Postgres generates a small share of a
day.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import psycopg

from bench import BenchError, fleet
from bench.bench import Bench
from bench.load import clients
from bench.stack import ENGINE
from bench.watch import Pace, Watch, pace

SIZE = 10_000  # readings a request
SENDERS, CONNECTIONS = 2, 3
MOST_WAITING = 30  # entries
DRAIN_SECONDS = 300
AUTOVACUUM_SECONDS = 420  # at most; autovacuum checks a table once a minute
# Enough that their day does not fit into Postgres's own memory, like that of a whole fleet.
QUICK_PAIRS = 1_500

# A reading of each pair and minute, for `generate`; with random values.
METER_ROWS = """
    insert into meter_readings_history (meter_id, recorded_at, received_at, kwh_consumed_ac, voltage)
    select 'M-' || lpad(pair::text, 5, '0'), at, at + interval '1 s', random(), 228 + 6 * random()
    from generate_series(%(start)s::timestamptz, %(end)s::timestamptz - interval '1 s', interval '1 min') as at,
         generate_series(%(first)s::int, %(last)s::int) as pair"""
VEHICLE_ROWS = """
    insert into vehicle_readings_history (vehicle_id, recorded_at, received_at, kwh_delivered_dc, battery_temp, soc)
    select 'V-' || lpad(pair::text, 5, '0'), at, at + interval '1 s', random(), 18 + 15 * random(), 100 * random()
    from generate_series(%(start)s::timestamptz, %(end)s::timestamptz - interval '1 s', interval '1 min') as at,
         generate_series(%(first)s::int, %(last)s::int) as pair"""
NOT_YET_VACUUMED = """
    select relname from pg_stat_user_tables
    where relname ~ '^(meter|vehicle)_readings_history_' and n_live_tup > 0 and n_ins_since_vacuum > 200000"""


@dataclass(frozen=True)
class Day:
    """A day of `pairs` meters and vehicles that are mapped to each other."""

    start: datetime
    pairs: int
    pace: Pace | None = None  # of the load
    seconds: float = 0.0  # of the load
    vacuum_seconds: float | None = None  # until autovacuum had visited all partitions; None: not in time


def present_day(bench: Bench) -> Day:
    """The day, loaded at the first call."""
    if bench.day is None:
        bench.stack.engine(*ENGINE)
        bench.stack.empty()
        import_mappings(bench)
        bench.day = generate_share(bench) if bench.is_quick else load_day(bench)
    return bench.day


def import_mappings(bench: Bench) -> None:
    file = Path(bench.stack.home) / "mappings.csv"
    lines = [f"{fleet.vehicle_id(pair)},{fleet.meter_id(pair)},," for pair in range(fleet.PAIRS)]
    file.write_text("\n".join(["vehicleId,meterId,from,to", *lines, ""]))
    bench.show(0, "importing the mappings")
    bench.stack.energy("mapping", "import", str(file))


def load_day(bench: Bench) -> Day:
    """28.8 million readings through the API, minute by minute, as fast as they are stored."""
    stack, start = bench.stack, fleet.day_start()
    requests = fleet.FLEET_DAY // SIZE
    plans = [
        bench.plan(
            "minutes",
            CONNECTIONS,
            start=start.isoformat(),
            size=SIZE,
            first=number,
            step=SENDERS,
            count=requests // SENDERS,
            until_accepted=True,
        )
        for number in range(SENDERS)
    ]
    started = time.monotonic()
    with Watch(stack) as watch:
        clients.run(
            plans,
            lambda share, _: bench.show(share, f"loading {fleet.FLEET_DAY:,} readings"),
            lambda: watch.snapshots[-1].stored / fleet.FLEET_DAY if watch.snapshots else 0.0,
            hold=lambda: stack.backlog() > MOST_WAITING,
        )
        stack.wait_until_drained(DRAIN_SECONDS)
    seconds = time.monotonic() - started
    bench.show(1, "counting")
    if (found := stack.count_history()) != fleet.FLEET_DAY:
        raise BenchError(f"a fleet day has {fleet.FLEET_DAY:,} readings, and {found:,} are in history")
    return Day(start, fleet.PAIRS, pace(watch), seconds, wait_for_autovacuum(bench))


def generate_share(bench: Bench) -> Day:
    start = fleet.day_start()
    end = start + timedelta(days=1)
    with bench.stack.connect() as connection:
        bench.show(0.3, "generating a share of a day")
        generate(connection, start, end, range(QUICK_PAIRS))
        # Without waiting for autovacuum, as a whole run does.
        connection.execute("vacuum (analyze) meter_readings_history, vehicle_readings_history")
    # Devices exist once they have sent: one minute of all, through the API.
    plan = bench.plan("minutes", 2, start=end.isoformat(), size=1_000, count=fleet.DEVICES // 1_000)
    clients.run([plan], bench.show, lambda: 0.9)
    bench.stack.wait_until_drained()
    return Day(start, QUICK_PAIRS)


def generate(connection: psycopg.Connection, start: datetime, end: datetime, pairs: range) -> None:
    """Inserts the pairs' readings of each minute in [start, end), in the order of the time."""
    values = {"start": start, "end": end, "first": pairs[0], "last": pairs[-1]}
    for rows in (METER_ROWS, VEHICLE_ROWS):
        connection.execute(rows, values)


def wait_for_autovacuum(bench: Bench) -> float | None:
    """Seconds until autovacuum had visited every partition with rows; None if it had not in time."""
    started = time.monotonic()
    with bench.stack.connect() as connection:
        while (waited := time.monotonic() - started) < AUTOVACUUM_SECONDS:
            left = connection.execute(NOT_YET_VACUUMED).fetchall()
            if not left and not _is_vacuuming(connection):
                return waited
            bench.show(waited / AUTOVACUUM_SECONDS, f"waiting for autovacuum to visit {len(left)} partitions")
            time.sleep(1)
    return None


def _is_vacuuming(connection: psycopg.Connection) -> bool:
    return connection.execute("select exists (select from pg_stat_progress_vacuum)").fetchone()[0]
