"""The state of Postgres, Redis and the engine at one moment, judged by readiness, `energy status` and `energy doctor`.

Both servers are read at the same time. A snapshot takes about two seconds at most, whatever state they are in.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import psycopg
import redis
from psycopg_pool import PoolTimeout

from models.database import BoundedConnection, bounded, connection_options
from models.health.postgres_snapshot import Connect, PostgresSnapshot, snapshot_postgres
from models.health.redis_snapshot import RedisSnapshot, snapshot_redis
from models.observability.thread_ages import ThreadAge, list_own_ages
from models.redis_client import open_redis
from models.resources import Resources
from models.settings import Settings
from models.storage.positions import list_diverged_shards
from models.stream.telemetry import TelemetryStream

# For a connection, and for each answer.
WAIT_SECONDS = 1.0
# The least that libpq takes as a bound.
CONNECT_SECONDS = 2

T = TypeVar("T")


@dataclass(frozen=True)
class Snapshot:
    """A server that is unavailable has no snapshot, and an error instead."""

    settings: Settings
    postgres: PostgresSnapshot | None
    postgres_error: str
    redis: RedisSnapshot | None
    redis_error: str
    diverged_shards: list[int] | None  # whose stream does not match the stored position; None: unknown
    thread_ages: list[ThreadAge]  # without Redis those of this process alone


def take_snapshot(resources: Resources) -> Snapshot:
    """For a web or worker process, over its pool. Never raises if a server is unavailable.

    An error is only the name of its class, a process only its role: anybody may read /health/ready.
    """
    snapshot = _take_snapshot(
        resources.settings,
        lambda: resources.database.connection(timeout=WAIT_SECONDS),
        lambda error: type(error).__name__,
    )
    published = [age._replace(process=age.process.split(" ")[0]) for age in snapshot.thread_ages]
    return replace(snapshot, thread_ages=published + list_own_ages("this process"))


def take_detailed_snapshot(settings: Settings) -> Snapshot:
    """For an operator's command, over a connection of its own. An error has the first line of its message."""
    return _take_snapshot(settings, lambda: connect(settings), _first_line)


def connect(settings: Settings) -> BoundedConnection:
    """Raises psycopg.OperationalError soon if Postgres is unavailable."""
    options = connection_options("command", WAIT_SECONDS) | {"connect_timeout": CONNECT_SECONDS}
    return BoundedConnection.connect(settings.database_url, **options)


def _take_snapshot(settings: Settings, connect: Connect, describe: Callable[[Exception], str]) -> Snapshot:
    stream = TelemetryStream(replace(settings, redis_timeout_seconds=WAIT_SECONDS))
    with (
        ThreadPoolExecutor(1) as thread,
        open_redis(settings.redis_url, timeout_seconds=WAIT_SECONDS) as client,
    ):
        pending = thread.submit(snapshot_postgres, connect, seconds=WAIT_SECONDS)
        in_redis, redis_error = _or_error(lambda: snapshot_redis(client, stream), describe)
        in_postgres, postgres_error = _or_error(pending.result, describe)
    try:
        diverged = _find_diverged_shards(connect, stream) if in_redis and in_postgres else None
    finally:
        stream.close()
    thread_ages = in_redis.thread_ages if in_redis else []
    return Snapshot(settings, in_postgres, postgres_error, in_redis, redis_error, diverged, thread_ages)


def _or_error(take: Callable[[], T], describe: Callable[[Exception], str]) -> tuple[T | None, str]:
    try:
        return take(), ""
    except redis.exceptions.BusyLoadingError:
        return None, "it is loading its append-only file"
    except PoolTimeout:
        return None, f"no connection within {WAIT_SECONDS:g} s"
    except (psycopg.Error, redis.RedisError, OSError) as error:
        return None, describe(error)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _find_diverged_shards(connect: Connect, stream: TelemetryStream) -> list[int] | None:
    try:
        with connect() as connection, bounded(connection, WAIT_SECONDS):
            return list_diverged_shards(connection, stream)
    except (psycopg.Error, PoolTimeout, redis.RedisError):
        return None
