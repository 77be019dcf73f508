"""Marks: which hours of which devices the roll-ups have to compute anew.

Whoever changes what was rolled up leaves a mark, in the transaction of the change: the drain that stores a late
reading, the one who changes a register, a mapping or a session. What is recorded from `marked_until` on needs none,
for it is yet to be rolled up.

Before the roll-ups take a stretch of time they move `marked_until` to its end, and wait until every transaction
that may have read the old one has ended (`announce`). Nobody waits for them: a drain takes a shared lock, which no
one ever asks for exclusively; it only shows who is still at work.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from operator import itemgetter

import psycopg

from models.locks import Lock
from models.readings import HistoryRow, Kind

# A mark of more devices than this is one of every device of the kind.
MAX_DEVICES = 1_000
HOUR = timedelta(hours=1)
_HOUR = 3_600_000_000  # microseconds
_POLL_SECONDS = 0.02

_recorded_at = itemgetter(1)

# Two statements in one round trip, and in this order: the second sees what was committed before the lock was taken.
_LOOK = f"""
select pg_advisory_xact_lock_shared({Lock.MARKED_UNTIL});
select (extract(epoch from marked_until) * 1000000)::int8 from rollup_state
"""


def mark_late_readings(connection: psycopg.Connection, batches: Iterable[tuple[Kind, Sequence[HistoryRow]]]) -> None:
    """Marks the hours of the history rows that come too late to be rolled up with the others, in their transaction.

    One mark an hour and kind. Where nothing is late, as nearly always, it costs one look.
    """
    until = _marked_until(connection)
    for kind, rows in batches:
        if until is not None and rows and min(map(_recorded_at, rows)) < until:
            _mark_rows(connection, kind, rows, until)


def _marked_until(connection: psycopg.Connection) -> int | None:
    """In microseconds since 1970; None if nothing was ever rolled up."""
    cursor = connection.execute(_LOOK)
    cursor.nextset()
    found = cursor.fetchone()
    return found and found[0]


def _mark_rows(connection: psycopg.Connection, kind: Kind, rows: Sequence[HistoryRow], until: int) -> None:
    late: dict[int, set[str]] = defaultdict(set)
    for row in rows:
        if row[1] < until:
            late[row[1] // _HOUR].add(row[0])
    # A device id has no comma.
    devices = [",".join(ids) if len(ids) <= MAX_DEVICES else None for ids in late.values()]
    connection.execute(
        """insert into rollup_marks (kind, device_ids, from_hour, to_hour)
           select %s, string_to_array(ids, ','), starts, starts + interval '1 hour'
           from unnest(%s::text[], %s::int8[]) as late (ids, hour)
           cross join lateral (select timestamptz 'epoch' + hour * interval '1 hour' as starts) as at""",
        [kind.name, devices, list(late)],
    )


def mark_stale(
    connection: psycopg.Connection, kind: str, device_ids: Sequence[str], start: datetime | None, end: datetime | None
) -> None:
    """Marks what was rolled up of the devices in [start, end), None: without bound, in the caller's transaction.

    `kind` is `meter` or `vehicle`. What follows from it is found when the mark is worked off: the vehicles that the
    meter feeds, and those that share a meter with the vehicle.
    """
    connection.execute("select pg_advisory_xact_lock_shared(%s)", [int(Lock.MARKED_UNTIL)])
    connection.execute(
        """insert into rollup_marks (kind, device_ids, from_hour, to_hour)
           select %(kind)s, %(device_ids)s, date_trunc('hour', starts, 'UTC'), date_trunc('hour', ends, 'UTC')
                  + case when date_trunc('hour', ends, 'UTC') = ends then interval '0' else interval '1 hour' end
           from (select marked_until, coalesce(%(start)s::timestamptz, '-infinity') as starts,
                        least(%(end)s::timestamptz, marked_until) as ends from rollup_state) as span
           where starts < ends""",
        {"kind": kind, "device_ids": list(device_ids), "start": start, "end": end},
    )


def mark_feed_stale(
    connection: psycopg.Connection, vehicle_id: str, meter_id: str, start: datetime | None, end: datetime | None
) -> None:
    """Who feeds whom changed in [start, end): marks the vehicle, and with the meter all others that it feeds."""
    mark_stale(connection, "vehicle", [vehicle_id], start, end)
    mark_stale(connection, "meter", [meter_id], start, end)


def mark_all_devices(connection: psycopg.Connection, kind: Kind, hour: datetime) -> None:
    """Marks one hour of every device of the kind."""
    connection.execute(
        "insert into rollup_marks (kind, from_hour, to_hour) values (%s, %s, %s)", [kind.name, hour, hour + HOUR]
    )


def require_marks_before(connection: psycopg.Connection, until: datetime, *, patience_seconds: float) -> bool:
    """From now on what is recorded before `until` is marked. `connection` must be in autocommit mode.

    True once nobody is left who may not know; False where that took too long, ask again later.
    """
    connection.execute(
        """insert into rollup_state (marked_until) values (%s) on conflict (only_row)
           do update set marked_until = greatest(rollup_state.marked_until, excluded.marked_until)""",
        [until],
    )
    give_up_at = time.monotonic() + patience_seconds
    unaware = _readers(connection)
    while unaware and time.monotonic() < give_up_at:
        time.sleep(_POLL_SECONDS)
        unaware &= _readers(connection)
    return not unaware


def _readers(connection: psycopg.Connection) -> set[str]:
    """The transactions that hold Lock.MARKED_UNTIL."""
    return {
        transaction
        for (transaction,) in connection.execute(
            """select virtualtransaction from pg_locks
               where locktype = 'advisory' and (classid, objid, objsubid) = (0, %s::int8::oid, 1)
                 and database = (select oid from pg_database where datname = current_database())""",
            [int(Lock.MARKED_UNTIL)],
        ).fetchall()
    }
