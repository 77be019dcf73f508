"""What Postgres reports of itself and of the engine's tables, in one short connection."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

import psycopg
from psycopg.rows import dict_row, scalar_row

from models.alerts.figures import count_alerts, count_deliveries
from models.analytics.rollups.watermark import RollupState, get_state
from models.database import BoundedConnection, bounded
from models.health.postgres_activity import Session, Slot, list_idle_slots, list_long_transactions
from models.readings import KINDS
from models.sql import one
from models.storage.live import count_new_devices
from models.storage.losses import Loss, list_losses
from models.storage.partitions import days_ahead
from models.storage.positions import ShardPosition, list_positions

# The settings on which a commit's durability depends.
DURABLE_SETTINGS = ("fsync", "full_page_writes", "synchronous_commit")
# Without one of these no reading is stored, or none is shown.
TABLES = ["ingest_positions", "ingest_batches", "dead_letters"]
TABLES += [table for kind in KINDS.values() for table in (kind.history, kind.live)]
# The schema is missing, or older than this code.
_NOT_MIGRATED = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedObject)

# The columns are fields of a PostgresSnapshot.
_SERVER = """
select clock_timestamp() as now, current_setting('server_version_num')::int as version,
       pg_is_in_recovery() as is_standby, current_setting('transaction_read_only')::bool as is_read_only,
       current_setting('TimeZone') as session_time_zone,
       (select json_object_agg(name, current_setting(name)) from unnest(%(settings)s::text[]) as wanted (name))
         as settings,
       (select count(*) from pg_stat_activity where usesysid is not null) as connections,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
         as max_connections,
       array(select name from unnest(%(tables)s::text[]) as wanted (name) where to_regclass(name) is null)
         as missing_tables
"""

MAX_LOSSES = 100

# A snapshot reads what no session locks for long in good times.
LOCK_WAIT_MILLISECONDS = 100

T = TypeVar("T")
Connect = Callable[[], AbstractContextManager[BoundedConnection]]


@dataclass(frozen=True)
class PostgresSnapshot:
    """From `revision` on, a field is None if the schema lacks its table."""

    now: datetime
    ahead_seconds: float  # its clock minus this machine's
    version: int  # 180001 for 18.1
    is_standby: bool
    is_read_only: bool
    session_time_zone: str
    settings: dict[str, str]  # the DURABLE_SETTINGS
    connections: int  # of all programs
    max_connections: int  # for roles that are no superusers
    missing_tables: list[str]  # of TABLES
    long_transactions: list[Session]
    idle_slots: list[Slot]
    revision: str | None
    days_ahead: int | None
    positions: dict[int, ShardPosition] | None  # by shard
    losses: list[Loss] | None  # not acknowledged, the newest first, MAX_LOSSES at most
    unresolved_alerts: dict[str, int] | None  # by kind
    rollups: RollupState | None
    undelivered_events: dict[str, int] | None  # of the webhook, by state
    new_devices: dict[str, int] | None  # of the last day, by kind

    def seconds_since(self, moment: datetime) -> float:
        """By Postgres's clock, which set `moment`."""
        return max(0.0, (self.now - moment).total_seconds())


def snapshot_postgres(connect: Connect, *, seconds: float, detailed: bool) -> PostgresSnapshot:
    """Waits at most `seconds` for each answer. Raises psycopg.Error or PoolTimeout.

    `detailed`: with users and queries of other sessions.
    """
    with connect() as connection, bounded(connection, seconds), _waiting_for_no_lock(connection):
        started = time.time()
        wanted = {"settings": list(DURABLE_SETTINGS), "tables": TABLES}
        server = one(connection.cursor(row_factory=dict_row).execute(_SERVER, wanted))
        middle = (started + time.time()) / 2
        return PostgresSnapshot(
            **server,
            long_transactions=list_long_transactions(connection, detailed=detailed),
            idle_slots=list_idle_slots(connection),
            ahead_seconds=server["now"].timestamp() - middle,
            revision=if_migrated(_revision, connection),
            days_ahead=if_migrated(days_ahead, connection),
            positions=if_migrated(list_positions, connection),
            losses=if_migrated(partial(list_losses, limit=MAX_LOSSES, acknowledged=False), connection),
            unresolved_alerts=if_migrated(count_alerts, connection),
            rollups=if_migrated(get_state, connection),
            undelivered_events=if_migrated(count_deliveries, connection),
            new_devices=if_migrated(count_new_devices, connection),
        )


@contextmanager
def _waiting_for_no_lock(connection: BoundedConnection) -> Iterator[None]:
    """A locked table costs its own figure: it must not make Postgres look stopped."""
    connection.execute(f"set lock_timeout = {LOCK_WAIT_MILLISECONDS}")
    try:
        yield
    finally:
        with suppress(psycopg.OperationalError):
            connection.execute("reset lock_timeout")


def _revision(connection: psycopg.Connection) -> str | None:
    return connection.cursor(row_factory=scalar_row).execute("select version_num from alembic_version").fetchone()


def if_migrated(query: Callable[[BoundedConnection], T], connection: BoundedConnection) -> T | None:
    """The query's result, or None if the schema lacks what it reads or another session holds it locked."""
    try:
        return query(connection)
    except (*_NOT_MIGRATED, psycopg.errors.LockNotAvailable):
        return None
