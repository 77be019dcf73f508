"""Stale marks: which hours of which devices the roll-ups must recompute.

Every change of what was rolled up leaves a mark, in the transaction of the change: a late reading that is stored, a
changed register, mapping or session. A reading recorded at or after `marked_until` needs none: it is not rolled up yet.

Before the roll-ups proceed they raise `marked_until`, and wait until every transaction that may have read the old
value has ended (`require_marks_before`). The drain never waits for them: it takes a shared lock, which no process takes
exclusively, and which only shows that its transaction is open.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from operator import itemgetter

import psycopg
from psycopg.rows import scalar_row

from models.locks import Lock
from models.readings import HistoryRow, Kind

# A mark of more devices than this becomes a mark of every device of the kind.
MAX_DEVICES = 1_000
HOUR = timedelta(hours=1)
_HOUR = 3_600_000_000  # microseconds
_POLL_SECONDS = 0.02

_recorded_at = itemgetter(1)

# Two statements in one round trip, in this order: the second sees everything committed before the lock was taken.
_MARKED_UNTIL = f"""
select pg_advisory_xact_lock_shared({Lock.MARKED_UNTIL});
select (extract(epoch from marked_until) * 1000000)::int8 from rollup_state
"""


def mark_late_readings(connection: psycopg.Connection, batches: Iterable[tuple[Kind, Sequence[HistoryRow]]]) -> None:
    """Marks the hours of those history rows that were recorded before `marked_until`, in the rows' transaction.

    One mark per hour and kind. Nearly always no row is late, and it costs one round trip.
    """
    until = _marked_until(connection)
    for kind, rows in batches:
        if until is not None and rows and min(map(_recorded_at, rows)) < until:
            _mark_rows(connection, kind, rows, until)


def _marked_until(connection: psycopg.Connection) -> int | None:
    """In microseconds since 1970; None if nothing was ever rolled up."""
    cursor = connection.cursor(row_factory=scalar_row).execute(_MARKED_UNTIL)
    cursor.nextset()
    return cursor.fetchone()


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
    """Marks the rolled-up hours of the devices in [start, end), in the caller's transaction; None: no bound.

    `kind` is `meter` or `vehicle`. Dependents are found when the mark is worked off: the vehicles that the meter
    feeds, and those that share a meter with the vehicle.
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
    """Marks the vehicle in [start, end) and, by the meter, all other vehicles that the meter feeds."""
    mark_stale(connection, "vehicle", [vehicle_id], start, end)
    mark_stale(connection, "meter", [meter_id], start, end)


def mark_all_devices(connection: psycopg.Connection, kind: Kind, hour: datetime) -> None:
    """Marks one hour of every device of the kind."""
    connection.execute(
        "insert into rollup_marks (kind, from_hour, to_hour) values (%s, %s, %s)", [kind.name, hour, hour + HOUR]
    )


def require_marks_before(connection: psycopg.Connection, until: datetime, *, patience_seconds: float) -> bool:
    """Has every later transaction mark the readings before `until` that it stores. `connection` is in autocommit mode.

    Returns True when all transactions that may have read the old value have ended; False if that took too long: call
    again later.
    """
    connection.execute(
        """insert into rollup_state (marked_until) values (%s) on conflict (only_row)
           do update set marked_until = greatest(rollup_state.marked_until, excluded.marked_until)""",
        [until],
    )
    give_up_at = time.monotonic() + patience_seconds
    earlier = _list_readers(connection)
    while earlier and time.monotonic() < give_up_at:
        time.sleep(_POLL_SECONDS)
        earlier &= _list_readers(connection)
    return not earlier


def _list_readers(connection: psycopg.Connection) -> set[str]:
    """The transactions that hold Lock.MARKED_UNTIL."""
    cursor = connection.cursor(row_factory=scalar_row).execute(
        """select virtualtransaction from pg_locks
           where locktype = 'advisory' and (classid, objid, objsubid) = (0, %s::int8::oid, 1)
             and database = (select oid from pg_database where datname = current_database())""",
        [int(Lock.MARKED_UNTIL)],
    )
    return set(cursor.fetchall())
