"""What there is to see of the engine at this moment: one short look at Postgres and Redis, both at once.

Readiness, `energy status` and `energy doctor` judge the same facts. A look is over within about two seconds,
whatever state the servers are in.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path

import psycopg
import redis
from alembic.script import ScriptDirectory
from psycopg_pool import PoolTimeout

from models.alerts.alert import count_alerts
from models.alerts.deliveries import count_deliveries
from models.analytics.rollups.watermark import RollupState, get_state
from models.database import BoundedConnection, bounded, connection_options
from models.observability.heartbeats import Heartbeats
from models.redis_client import open_redis
from models.resources import Resources
from models.settings import Settings
from models.storage.divergence import list_diverged_shards
from models.storage.partitions import days_ahead
from models.storage.positions import list_positions
from models.stream.entry_ids import EntryId
from models.stream.telemetry import TelemetryStream

# For each query, so that a snapshot takes about two seconds whatever state the servers are in.
LOOK_SECONDS = 1.0
# libpq's least that is not "for ever" is 2.
CONNECT_SECONDS = 2
DURABLE_SETTINGS = ("fsync", "full_page_writes", "synchronous_commit")
# A table or a column that the migrations have yet to make.
_NOT_MIGRATED = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedObject)

Connect = Callable[[], AbstractContextManager[BoundedConnection]]


@dataclass(frozen=True)
class PostgresSnapshot:
    """None where the schema is not there to tell. `ahead_seconds`: its clock less ours."""

    now: datetime
    ahead_seconds: float
    version: int  # 180001 for 18.1
    is_standby: bool
    session_time_zone: str
    settings: dict[str, str]
    revision: str | None
    days_ahead: int | None
    positions: list[dict] | None
    alerts: dict[str, int] | None  # not resolved, by kind
    rollups: RollupState | None
    deliveries: dict[str, int] | None  # events that the webhook was not told, by how they are


@dataclass(frozen=True)
class ShardSnapshot:
    backlog: int  # entries
    lag_seconds: float  # age of the oldest entry by Redis's clock; 0 without a backlog


@dataclass(frozen=True)
class RedisSnapshot:
    """`appendfsync` is None where Redis does not let it be read. `ahead_seconds`: its clock less ours."""

    ahead_seconds: float
    info: dict
    appendfsync: str | None
    shards: dict[int, ShardSnapshot]
    heartbeat_ages: dict[str, float]  # seconds ago, by who


@dataclass(frozen=True)
class Snapshot:
    """A server that is away has no facts, and the reason why."""

    settings: Settings
    postgres: PostgresSnapshot | None
    postgres_error: str
    redis: RedisSnapshot | None
    redis_error: str
    diverged_shards: list[int] | None  # shards whose stream does not match the stored position

    @property
    def positions(self) -> dict[int, dict] | None:
        """By shard; None where they can't be told."""
        known = self.postgres and self.postgres.positions
        return None if known is None else {row["shard"]: row for row in known}


def take_snapshot(resources: Resources) -> Snapshot:
    """For a web or worker process, over its pool. Never raises for what is away.

    A reason is only the error's kind: what this answers may be read by strangers.
    """
    return _take_snapshot(
        resources.settings, lambda: resources.database.connection(timeout=LOOK_SECONDS), lambda e: type(e).__name__
    )


def take_close_snapshot(settings: Settings) -> Snapshot:
    """For an operator's command: over a connection of its own, and a reason is all that the error says."""
    return _take_snapshot(settings, lambda: connect(settings), _first_line)


def connect(settings: Settings) -> BoundedConnection:
    """A connection for a look; raises psycopg.OperationalError soon where Postgres is away."""
    options = connection_options("command", LOOK_SECONDS) | {"connect_timeout": CONNECT_SECONDS}
    return BoundedConnection.connect(settings.database_url, **options)


@cache
def known_revisions() -> tuple[str, ...]:
    """The revisions in migrations/, the head first."""
    scripts = ScriptDirectory(str(Path(__file__).parents[2] / "migrations"))
    return tuple(script.revision for script in scripts.walk_revisions())


def _take_snapshot(settings: Settings, connect: Connect, explain: Callable[[Exception], str]) -> Snapshot:
    known_revisions()  # read from disk at the first look: not within the time of a query
    stream = TelemetryStream(replace(settings, redis_timeout_seconds=LOOK_SECONDS))
    with ThreadPoolExecutor(1) as other, open_redis(settings.redis_url, timeout_seconds=LOOK_SECONDS) as client:
        looking = other.submit(_snapshot_postgres, connect)
        in_redis, redis_error = _or_why_not(lambda: _snapshot_redis(client, stream), explain)
        in_postgres, postgres_error = _or_why_not(looking.result, explain)
    try:
        diverged = _find_diverged_shards(connect, stream) if in_redis and in_postgres else None
    finally:
        stream.close()
    return Snapshot(settings, in_postgres, postgres_error, in_redis, redis_error, diverged)


def _or_why_not(ask: Callable, explain: Callable[[Exception], str]) -> tuple:
    try:
        return ask(), ""
    except redis.exceptions.BusyLoadingError:
        return None, "it is loading its append-only file"
    except PoolTimeout:
        return None, f"no connection within {LOOK_SECONDS:g} s"
    except (psycopg.Error, redis.RedisError, OSError) as error:
        return None, explain(error)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _snapshot_postgres(connect: Connect) -> PostgresSnapshot:
    with connect() as connection, bounded(connection, LOOK_SECONDS):
        asked_at = time.time()
        now, version, is_standby, session_time_zone = connection.execute(
            """select clock_timestamp(), current_setting('server_version_num')::int, pg_is_in_recovery(),
                      current_setting('TimeZone')"""
        ).fetchone()
        ahead_seconds = now.timestamp() - (asked_at + time.time()) / 2
        settings = connection.execute(
            "select name, current_setting(name) from unnest(%s::text[]) as asked (name)", [list(DURABLE_SETTINGS)]
        ).fetchall()
        return PostgresSnapshot(
            now,
            ahead_seconds,
            version,
            is_standby,
            session_time_zone,
            dict(settings),
            _if_migrated(lambda: _revision(connection)),
            _if_migrated(lambda: days_ahead(connection)),
            _if_migrated(lambda: list_positions(connection)),
            _if_migrated(lambda: count_alerts(connection)),
            _if_migrated(lambda: get_state(connection)),
            _if_migrated(lambda: count_deliveries(connection)),
        )


def _revision(connection: psycopg.Connection) -> str | None:
    row = connection.execute("select version_num from alembic_version").fetchone()
    return row and row[0]


def _if_migrated(ask: Callable):
    try:
        return ask()
    except _NOT_MIGRATED:
        return None


def _snapshot_redis(client: redis.Redis, stream: TelemetryStream) -> RedisSnapshot:
    client.ping()  # connected: the clocks are compared over one round trip
    asked_at = time.time()
    seconds, microseconds = client.time()
    now = seconds + microseconds / 1e6
    ahead_seconds = now - (asked_at + time.time()) / 2
    return RedisSnapshot(
        ahead_seconds,
        client.info(),
        _appendfsync(client),
        {shard: _shard(stream.backlog(shard), stream.oldest(shard), now) for shard in stream.known_shards()},
        Heartbeats(client).ages(),
    )


def _shard(backlog: int, oldest: EntryId | None, now: float) -> ShardSnapshot:
    return ShardSnapshot(backlog, max(0.0, now - oldest.ms / 1000) if oldest else 0.0)


def _appendfsync(client: redis.Redis) -> str | None:
    try:
        found = client.config_get("appendfsync")
    except redis.ResponseError:  # renamed, or not for us: as with many a Redis that others run
        return None
    return found.get("appendfsync")


def _find_diverged_shards(connect: Connect, stream: TelemetryStream) -> list[int] | None:
    try:
        with connect() as connection, bounded(connection, LOOK_SECONDS):
            return list_diverged_shards(connection, stream)
    except (psycopg.Error, PoolTimeout, redis.RedisError):
        return None
