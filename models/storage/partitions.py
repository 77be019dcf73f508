"""History's partitions: one a UTC day of recorded_at, created ahead, and one for everything before the first day.

There is no default partition: it would keep days from being detached without a lock, and each attach would scan it.
A day is created as a table of its own and then attached, which blocks neither readers nor drains.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import psycopg
from psycopg.rows import class_row, scalar_row

from models.locks import Lock, take_lock
from models.readings import KINDS, METER, VEHICLE, Kind

# How long an attach waits for its lock; the next run tries again.
LOCK_TIMEOUT = "2s"
# A new database has days of their own for readings of up to this many days ago; older ones share one partition.
DAYS_BEHIND_AT_START = 7

# Index-only scans need a fresh visibility map, and a day only grows: vacuum after this many inserts.
_STORAGE = """(autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
               autovacuum_analyze_scale_factor = 0.02)"""


@dataclass(frozen=True)
class Partition:
    table: str
    name: str
    bytes: int  # on disk, with indexes
    rows: int | None  # the planner's estimate; None before the first analyze

    @property
    def day(self) -> date | None:
        """None for the partition of everything before the first day."""
        return _day_of(self.name)


def ensure_partitions(connection: psycopg.Connection, *, days_ahead: int, today: date | None = None) -> list[str]:
    """Creates the missing days from the first one to `days_ahead` from today; returns their names.

    Each partition is committed by itself, so what was created stays.
    Raises psycopg.errors.LockNotAvailable if a table stayed busy; call again later.
    """
    today = today or datetime.now(UTC).date()
    created = []
    with connection.transaction():
        take_lock(connection, Lock.PARTITIONS)
        days = {kind: _days(connection, kind) for kind in KINDS.values()}
    for kind, present in days.items():
        first = min(present, default=today - timedelta(days=DAYS_BEHIND_AT_START))
        if not present:
            created += _create(connection, kind, f"{kind.history}_older", None, first)
        for offset in range((today - first).days + days_ahead + 1):
            if (day := first + timedelta(days=offset)) not in present:
                created += _create(connection, kind, f"{kind.history}_{day:%Y%m%d}", day, day + timedelta(days=1))
    return created


def drop_expired(connection: psycopg.Connection, *, keep_days: int, today: date | None = None) -> list[str]:
    """Detaches and drops the days that are wholly older than `keep_days`; returns their names.

    `connection` must be in autocommit mode: a concurrent detach can't run in a transaction. A detach that was
    interrupted is finished first.
    """
    oldest_kept = (today or datetime.now(UTC).date()) - timedelta(days=keep_days)
    dropped = []
    for kind in KINDS.values():
        interrupted = _names(connection, kind, detach_pending=True)
        expired = [name for day, name in sorted(_days(connection, kind).items()) if day < oldest_kept]
        for how, names in (("finalize", interrupted), ("concurrently", expired)):
            for name in names:
                connection.execute(f"alter table {kind.history} detach partition {name} {how}")
                connection.execute(f"drop table {name}")
                dropped.append(name)
        if expired:
            connection.execute(f"truncate {kind.history}_older")
    return dropped


def list_partitions(connection: psycopg.Connection) -> list[Partition]:
    """Every partition, oldest first."""
    cursor = connection.cursor(row_factory=class_row(Partition))
    return [
        partition
        for kind in KINDS.values()
        for partition in cursor.execute(
            """select %(history)s::text as table, c.relname as name, pg_total_relation_size(c.oid) as bytes,
                      nullif(c.reltuples, -1)::int8 as rows
               from pg_inherits i join pg_class c on c.oid = i.inhrelid
               where i.inhparent = %(history)s::regclass order by c.relname like '%%older' desc, c.relname""",
            {"history": kind.history},
        )
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
    """The first day with a partition of its own; what was recorded before it shares one partition."""
    return min((day for kind in KINDS.values() for day in _days(connection, kind)), default=None)


def _create(connection: psycopg.Connection, kind: Kind, name: str, start: date | None, end: date) -> list[str]:
    with connection.transaction():
        take_lock(connection, Lock.PARTITIONS)
        connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
        if connection.cursor(row_factory=scalar_row).execute("select to_regclass(%s)", [name]).fetchone():
            return []  # another process has created it meanwhile
        connection.execute(f"create table {name} (like {kind.history} including all) with {_STORAGE}")
        lower = "minvalue" if start is None else f"'{start:%Y-%m-%d}T00:00:00Z'"
        connection.execute(
            f"alter table {kind.history} attach partition {name}"
            f" for values from ({lower}) to ('{end:%Y-%m-%d}T00:00:00Z')"
        )
    return [name]


def _days(connection: psycopg.Connection, kind: Kind) -> dict[date, str]:
    return {day: name for name in _names(connection, kind, detach_pending=False) if (day := _day_of(name))}


def _names(connection: psycopg.Connection, kind: Kind, *, detach_pending: bool) -> list[str]:
    cursor = connection.cursor(row_factory=scalar_row)
    return cursor.execute(
        """select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
           where i.inhparent = %s::regclass and i.inhdetachpending = %s""",
        [kind.history, detach_pending],
    ).fetchall()


def _day_of(name: str) -> date | None:
    suffix = name.rsplit("_", 1)[1]
    return datetime.strptime(suffix, "%Y%m%d").replace(tzinfo=UTC).date() if suffix.isdigit() else None
