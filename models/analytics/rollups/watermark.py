"""Roll-ups: what each device did in each UTC hour, kept equal to history.

Everything recorded before the **watermark** (`rolled_until`, a whole minute) is rolled up. It follows the clock at a
distance of SETTLE_SECONDS, hour by hour, the last of them in part; what comes later than that is marked by whoever
stores it (models/storage/stale_marks.py), and the hours of marks are computed anew. Each step is one transaction, so
that a process which dies repeats no more than a step; one process at a time does one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import psycopg

from models.analytics.rollups.pending_marks import expand_pending_marks
from models.analytics.rollups.recompute import recompute
from models.analytics.rollups.stale_hours import add_all_devices, add_dependents, create_tables
from models.locks import Lock, take_lock, try_lock
from models.readings import KINDS
from models.storage import partitions
from models.storage.stale_marks import HOUR, mark_all_devices, require_marks_before

# By now what is recorded is nearly always stored; what is not costs a mark.
WATERMARK_DELAY_SECONDS = 60
# How long those who store readings are waited for, before the watermark moves.
_PATIENCE_SECONDS = 2.0


@dataclass(frozen=True)
class RollupState:
    """`watermark`: everything recorded before it is rolled up, except the stale hours. None: nothing is yet."""

    watermark: datetime | None
    moved_at: datetime | None
    stale_marks: int


def get_state(connection: psycopg.Connection) -> RollupState:
    return RollupState(
        *connection.execute(
            """select max(rolled_until), max(moved_at), (select count(*) from rollup_marks) from rollup_state"""
        ).fetchone()
    )


def watermark_target(now: datetime) -> datetime:
    """Where the watermark should be."""
    return (now - timedelta(seconds=WATERMARK_DELAY_SECONDS)).replace(second=0, microsecond=0)


def roll_up_steps(connection: psycopg.Connection, *, now: datetime, heartbeat_seconds: int) -> Iterator[None]:
    """Brings the roll-ups up to date, a step at a time, until nothing is left to do or another process does it.

    `connection` must be in autocommit mode. Hours ahead and marks take turns, so that neither waits for the other.
    """
    until = watermark_target(now)
    is_known = require_marks_before(connection, until, patience_seconds=_PATIENCE_SECONDS)
    while True:
        advanced = is_known and _advance(connection, until, heartbeat_seconds)
        yield
        worked_off = _work_off_marks(connection, heartbeat_seconds)
        if not (advanced or worked_off):
            return
        yield


def rebuild(
    connection: psycopg.Connection, start: datetime | None, end: datetime | None, *, heartbeat_seconds: int
) -> Iterator[tuple[datetime, int]]:
    """Computes every hour of [start, end) anew that was rolled up; yields each with its number of device-hours.

    None: no bound. `connection` must be in autocommit mode; each hour is committed by itself.
    """
    for hour in list_rebuild_hours(connection, start, end):
        with _step_alone(connection, wait=True):
            rolled_until, since = _rolled_until(connection), _history_since(connection)
            for kind in KINDS.values():
                add_all_devices(connection, kind, hour)
            device_hours = recompute(connection, rolled_until, since=since, heartbeat_seconds=heartbeat_seconds)
        yield hour, device_hours


def list_rebuild_hours(connection: psycopg.Connection, start: datetime | None, end: datetime | None) -> list[datetime]:
    """The hours of [start, end) that were rolled up and whose history is there."""
    rolled_until, first = _rolled_until(connection), partitions.first_day(connection)
    if rolled_until is None:
        return []
    begins = _midnight(first)
    hours = [hour for hour in _hours_before(connection, begins) if start is None or hour + HOUR > start]
    hour = max(begins, _hour(start)) if start else begins
    while hour < min(rolled_until, end or rolled_until):
        hours.append(hour)
        hour += HOUR
    return [hour for hour in hours if end is None or hour < end]


def _advance(connection: psycopg.Connection, until: datetime, heartbeat_seconds: int) -> bool:
    """Rolls up the next hour, as far as `until`; False where nothing is left, or it is not ours to do."""
    with _step_alone(connection) as is_ours:
        if not is_ours or (first := partitions.first_day(connection)) is None:
            return False
        rolled_until = _rolled_until(connection)
        if rolled_until is None:
            return _start(connection, _midnight(first))
        if rolled_until >= until:
            return False
        hour = _hour(rolled_until)
        for kind in KINDS.values():
            add_all_devices(connection, kind, hour)
        reached = min(hour + HOUR, until)
        recompute(connection, reached, since=None, heartbeat_seconds=heartbeat_seconds)
        _move(connection, reached)
    return True


def _start(connection: psycopg.Connection, first: datetime) -> bool:
    """The watermark starts at the first day; the hours before it that have readings, few or many, become marks."""
    for hour in _hours_before(connection, first):
        for kind in KINDS.values():
            mark_all_devices(connection, kind, hour)
    _move(connection, first)
    return True


def _work_off_marks(connection: psycopg.Connection, heartbeat_seconds: int) -> bool:
    """Works off marks, the oldest first; False where there are none, or it is not ours to do."""
    with _step_alone(connection) as is_ours:
        until = _rolled_until(connection) if is_ours else None
        if until is None or not expand_pending_marks(connection, until):
            return False
        since = _history_since(connection)
        add_dependents(connection, until)
        recompute(connection, until, since=since, heartbeat_seconds=heartbeat_seconds)
    return True


@contextmanager
def _step_alone(connection: psycopg.Connection, *, wait: bool = False) -> Iterator[bool]:
    """A transaction that no other step runs beside, with nothing touched; False where there is one, unless we wait."""
    with connection.transaction():
        if wait:
            take_lock(connection, Lock.ROLLUP_STEP)
        elif not try_lock(connection, Lock.ROLLUP_STEP):
            yield False
            return
        create_tables(connection)
        yield True


def _rolled_until(connection: psycopg.Connection) -> datetime | None:
    return connection.execute("select max(rolled_until) from rollup_state").fetchone()[0]


def _move(connection: psycopg.Connection, reached: datetime) -> None:
    connection.execute("update rollup_state set rolled_until = %s, moved_at = now()", [reached])


def _history_since(connection: psycopg.Connection) -> datetime | None:
    """History of before it was dropped; None: it is all there."""
    first = _midnight(partitions.first_day(connection))
    is_whole = any(
        connection.execute(f"select exists (select from {kind.history} where recorded_at < %s)", [first]).fetchone()[0]
        for kind in KINDS.values()
    )
    return None if is_whole else first


def _hours_before(connection: psycopg.Connection, first: datetime) -> list[datetime]:
    """The hours before the first day in which anything was recorded: one scan of the partitions of what is older."""
    return [
        hour
        for (hour,) in connection.execute(
            " union ".join(
                f"select date_trunc('hour', recorded_at, 'UTC') from {kind.history} where recorded_at < %(first)s"
                for kind in KINDS.values()
            )
            + " order by 1",
            {"first": first},
        ).fetchall()
    ]


def _hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
