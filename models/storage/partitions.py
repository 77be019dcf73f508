"""History's partitions: one a UTC day on recorded_at, made ahead; one below the first day for older readings.

There is no default partition: it would keep days from being detached without a lock, and every attach would
scan it. A day is made as a table of its own and then attached, which takes no lock that stops a reader or a
drain; the lock it does take is waited for no longer than LOCK_TIMEOUT, and the next run tries again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import psycopg

from models.locks import Lock, take_lock
from models.readings import KINDS, METER, VEHICLE, Kind

LOCK_TIMEOUT = "2s"
# A new database can take readings this many days old into days of their own; older ones share one partition.
DAYS_BEHIND_AT_START = 7

# Index-only scans need a fresh visibility map, and a day only grows: vacuum after each so many inserts.
_STORAGE = """(autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
               autovacuum_analyze_scale_factor = 0.02)"""


@dataclass(frozen=True)
class Partition:
    """`day` is None for the partition of everything older than the first day."""

    table: str
    name: str
    day: date | None
    bytes: int
    rows: int  # the planner's estimate


def ensure_partitions(connection: psycopg.Connection, *, days_ahead: int, today: date | None = None) -> list[str]:
    """Makes every day from the first managed one to `days_ahead` from today that is missing; returns their names.

    Each partition is committed by itself, so what was made stays made.
    Raises psycopg.errors.LockNotAvailable where a table stayed busy; call again later.
    """
    today = today or datetime.now(UTC).date()
    made = []
    with connection.transaction():
        take_lock(connection, Lock.PARTITIONS)
        days = {kind.name: _days(connection, kind) for kind in KINDS.values()}
    for kind in (METER, VEHICLE):
        present = days[kind.name]
        first = min(present, default=today - timedelta(days=DAYS_BEHIND_AT_START))
        if not present:
            made += _make(connection, kind, f"{kind.history}_older", None, first)
        for day in _days_from(first, today + timedelta(days=days_ahead)):
            if day not in present:
                made += _make(connection, kind, f"{kind.history}_{day:%Y%m%d}", day, day + timedelta(days=1))
    return made


def drop_expired(connection: psycopg.Connection, *, keep_days: int, today: date | None = None) -> list[str]:
    """Detaches and drops the days that are wholly older than `keep_days`; returns their names.

    `connection` must be in autocommit mode, as those of our pools are: a concurrent detach can't run in a
    transaction. One that was interrupted is finished first.
    """
    oldest_kept = (today or datetime.now(UTC).date()) - timedelta(days=keep_days)
    dropped = []
    for kind in (METER, VEHICLE):
        for name in _pending_detach(connection, kind):
            connection.execute(f"alter table {kind.history} detach partition {name} finalize")
            connection.execute(f"drop table {name}")
            dropped.append(name)
        days = _days(connection, kind)
        expired = sorted(day for day in days if day < oldest_kept)
        for name in (days[day] for day in expired):
            connection.execute(f"alter table {kind.history} detach partition {name} concurrently")
            connection.execute(f"drop table {name}")
            dropped.append(name)
        if expired:
            connection.execute(f"truncate {kind.history}_older")
    return dropped


def list_partitions(connection: psycopg.Connection) -> list[Partition]:
    """Every partition with its size on disk, table and indexes, oldest first."""
    return [
        Partition(kind.history, name, _day_of(name), size, max(0, int(rows)))
        for kind in (METER, VEHICLE)
        for name, size, rows in connection.execute(
            """select c.relname, pg_total_relation_size(c.oid), c.reltuples
               from pg_inherits i join pg_class c on c.oid = i.inhrelid
               where i.inhparent = %s::regclass order by c.relname like '%%older' desc, c.relname""",
            [kind.history],
        ).fetchall()
    ]


def days_ahead(connection: psycopg.Connection, *, today: date | None = None) -> int:
    """How many whole days after today can be stored, without a gap and in both kinds; -1: not even today."""
    today = today or datetime.now(UTC).date()
    present = set(_days(connection, METER)) & set(_days(connection, VEHICLE))
    ahead = -1
    while today + timedelta(days=ahead + 1) in present:
        ahead += 1
    return ahead


def first_day(connection: psycopg.Connection) -> date | None:
    """The first day that has a partition of its own; what was recorded before it is in one of all that is older."""
    return min((day for kind in KINDS.values() for day in _days(connection, kind)), default=None)


def _make(connection: psycopg.Connection, kind: Kind, name: str, start: date | None, end: date) -> list[str]:
    with connection.transaction():
        take_lock(connection, Lock.PARTITIONS)
        connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
        if connection.execute("select to_regclass(%s)", [name]).fetchone()[0]:
            return []  # another process made it meanwhile
        connection.execute(f"create table {name} (like {kind.history} including all) with {_STORAGE}")
        lower = "minvalue" if start is None else f"'{start:%Y-%m-%d}T00:00:00Z'"
        connection.execute(
            f"alter table {kind.history} attach partition {name}"
            f" for values from ({lower}) to ('{end:%Y-%m-%d}T00:00:00Z')"
        )
    return [name]


def _days(connection: psycopg.Connection, kind: Kind) -> dict[date, str]:
    names = connection.execute(
        """select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
           where i.inhparent = %s::regclass and not i.inhdetachpending""",
        [kind.history],
    ).fetchall()
    return {day: name for (name,) in names if (day := _day_of(name))}


def _pending_detach(connection: psycopg.Connection, kind: Kind) -> list[str]:
    return [
        name
        for (name,) in connection.execute(
            """select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
               where i.inhparent = %s::regclass and i.inhdetachpending""",
            [kind.history],
        ).fetchall()
    ]


def _day_of(name: str) -> date | None:
    suffix = name.rsplit("_", 1)[1]
    return datetime.strptime(suffix, "%Y%m%d").replace(tzinfo=UTC).date() if suffix.isdigit() else None


def _days_from(first: date, last: date) -> Iterator[date]:
    for offset in range((last - first).days + 1):
        yield first + timedelta(days=offset)
