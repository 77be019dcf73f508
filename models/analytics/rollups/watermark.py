"""Roll-ups: the energy and readings of each device in each UTC hour, kept equal to history.

Readings recorded before the **watermark** (`rolled_until`, a whole minute) are rolled up. It follows the clock at a
distance of WATERMARK_DELAY_SECONDS, hour by hour, the last hour in part. Readings that come later, and changes of
settings and feeds, leave stale marks (models/storage/stale_marks.py), and the hours of the marks are recomputed. A
step is one transaction, and one process at a time does one: a crash repeats at most one step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

import psycopg
from psycopg.rows import class_row, scalar_row

from models.analytics.energy.queries import HOUR, hour_of
from models.analytics.rollups.pending_marks import expand_pending_marks
from models.analytics.rollups.recompute import recompute
from models.analytics.rollups.stale_hours import add_all_devices, add_dependents, create_tables
from models.locks import Lock, take_lock, try_lock
from models.readings import KINDS
from models.sql import one
from models.storage import partitions
from models.storage.stale_marks import mark_all_devices, require_marks_before

# Nearly all readings are stored by then; the others leave stale marks.
WATERMARK_DELAY_SECONDS = 60
# How long the watermark waits for transactions that store readings.
_PATIENCE_SECONDS = 2.0


class RollupState(NamedTuple):
    """`watermark`: readings recorded before it are rolled up, except in stale hours. None: nothing is rolled up yet."""

    watermark: datetime | None
    moved_at: datetime | None
    stale_marks: int


class RebuiltHour(NamedTuple):
    hour: datetime
    device_hours: int


def get_state(connection: psycopg.Connection) -> RollupState:
    cursor = connection.cursor(row_factory=class_row(RollupState)).execute(
        """select max(rolled_until) as watermark, max(moved_at) as moved_at,
                  (select count(*) from rollup_marks) as stale_marks
           from rollup_state"""
    )
    return one(cursor)


def watermark_target(now: datetime) -> datetime:
    """Where the watermark should be."""
    return (now - timedelta(seconds=WATERMARK_DELAY_SECONDS)).replace(second=0, microsecond=0)


def roll_up_steps(connection: psycopg.Connection, *, now: datetime, heartbeat_seconds: int) -> Iterator[None]:
    """Brings the roll-ups up to date, step by step, until they are or another process does a step.

    `connection` must be in autocommit mode. New hours and stale marks take turns, so that neither waits for the other.
    """
    until = watermark_target(now)
    can_advance = require_marks_before(connection, until, patience_seconds=_PATIENCE_SECONDS)
    while True:
        advanced = can_advance and _advance(connection, until, heartbeat_seconds)
        yield
        worked_off = _work_off_marks(connection, heartbeat_seconds)
        if not (advanced or worked_off):
            return
        yield


def rebuild(
    connection: psycopg.Connection, start: datetime | None, end: datetime | None, *, heartbeat_seconds: int
) -> Iterator[RebuiltHour]:
    """Recomputes every hour of [start, end) that is rolled up; None: no bound. Yields each hour when it is stored.

    `connection` must be in autocommit mode; each hour is one transaction.
    """
    for hour in list_rebuild_hours(connection, start, end):
        with _step(connection, wait=True):
            rolled_until, since = _rolled_until(connection), _history_since(connection)
            if rolled_until is None:
                return
            for kind in KINDS.values():
                add_all_devices(connection, kind, hour)
            device_hours = recompute(connection, rolled_until, since=since, heartbeat_seconds=heartbeat_seconds)
        yield RebuiltHour(hour, device_hours)


def list_rebuild_hours(connection: psycopg.Connection, start: datetime | None, end: datetime | None) -> list[datetime]:
    """The hours of [start, end) that are rolled up and have history; None: no bound."""
    rolled_until, first_day = _rolled_until(connection), partitions.first_day(connection)
    if rolled_until is None or first_day is None:
        return []
    first = _midnight(first_day)
    hours = [hour for hour in _hours_before(connection, first) if start is None or hour + HOUR > start]
    hour = max(first, hour_of(start)) if start else first
    while hour < min(rolled_until, end or rolled_until):
        hours.append(hour)
        hour += HOUR
    return [hour for hour in hours if end is None or hour < end]


def _advance(connection: psycopg.Connection, until: datetime, heartbeat_seconds: int) -> bool:
    """Rolls up the next hour, as far as `until`; False if there is none or another process does a step."""
    with _step(connection) as is_mine:
        if not is_mine or (first_day := partitions.first_day(connection)) is None:
            return False
        rolled_until = _rolled_until(connection)
        if rolled_until is None:
            _start(connection, _midnight(first_day))
            return True
        if rolled_until >= until:
            return False
        hour = hour_of(rolled_until)
        for kind in KINDS.values():
            add_all_devices(connection, kind, hour)
        reached = min(hour + HOUR, until)
        recompute(connection, reached, since=None, heartbeat_seconds=heartbeat_seconds)
        _move(connection, reached)
    return True


def _start(connection: psycopg.Connection, first: datetime) -> None:
    """Sets the watermark to the start of the first day; older hours with readings, few or many, get stale marks."""
    for hour in _hours_before(connection, first):
        for kind in KINDS.values():
            mark_all_devices(connection, kind, hour)
    _move(connection, first)


def _work_off_marks(connection: psycopg.Connection, heartbeat_seconds: int) -> bool:
    """Recomputes the hours of the oldest marks; False if there are none or another process does a step."""
    with _step(connection) as is_mine:
        until = _rolled_until(connection) if is_mine else None
        if until is None or not expand_pending_marks(connection, until):
            return False
        since = _history_since(connection)
        add_dependents(connection, until)
        recompute(connection, until, since=since, heartbeat_seconds=heartbeat_seconds)
    return True


@contextmanager
def _step(connection: psycopg.Connection, *, wait: bool = False) -> Iterator[bool]:
    """A transaction beside which no other step runs, with empty tables of stale hours; False: another step runs.

    With `wait` it waits for that one's end.
    """
    with connection.transaction():
        if wait:
            take_lock(connection, Lock.ROLLUP_STEP)
        elif not try_lock(connection, Lock.ROLLUP_STEP):
            yield False
            return
        create_tables(connection)
        yield True


def _rolled_until(connection: psycopg.Connection) -> datetime | None:
    return connection.cursor(row_factory=scalar_row).execute("select max(rolled_until) from rollup_state").fetchone()


def _move(connection: psycopg.Connection, reached: datetime) -> None:
    connection.execute("update rollup_state set rolled_until = %s, moved_at = now()", [reached])


def _history_since(connection: psycopg.Connection) -> datetime | None:
    """The start of the first day, if older history was dropped; None: all history is there."""
    first_day = partitions.first_day(connection)
    if first_day is None:
        return None
    first = _midnight(first_day)
    cursor = connection.cursor(row_factory=scalar_row)
    is_whole = any(
        one(cursor.execute(f"select exists (select from {kind.history} where recorded_at < %s)", [first]))
        for kind in KINDS.values()
    )
    return None if is_whole else first


def _hours_before(connection: psycopg.Connection, first: datetime) -> list[datetime]:
    """The hours before the first day with a reading, ascending: one scan of the partitions of older readings."""
    hours = " union ".join(
        f"select date_trunc('hour', recorded_at, 'UTC') from {kind.history} where recorded_at < %(first)s"
        for kind in KINDS.values()
    )
    return connection.cursor(row_factory=scalar_row).execute(f"{hours} order by 1", {"first": first}).fetchall()


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
