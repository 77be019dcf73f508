"""The state of Postgres, Redis and the engine at one moment, judged by readiness, `energy status` and `energy doctor`.

Both servers are read at the same time. A snapshot takes about three seconds at most, whatever state they
are in.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, TypeVar

import psycopg
import redis
from psycopg_pool import PoolTimeout

from models.causes import find_cause, first_line
from models.database import BoundedConnection, bounded, connection_options
from models.health.postgres_activity import Session, list_blockers
from models.health.postgres_snapshot import Connect, PostgresSnapshot, snapshot_postgres
from models.health.redis_snapshot import RedisSnapshot, snapshot_redis
from models.observability.thread_ages import ThreadAge, list_own_ages
from models.redis_client import open_redis
from models.resources import Resources
from models.settings import Settings
from models.storage.positions import list_diverged_shards
from models.stream.telemetry import TelemetryStream

# A shard is stuck if its oldest entry is older than this and its position has not moved for as long.
STUCK_SECONDS = 30
# For a connection, and for each answer.
WAIT_SECONDS = 1.0
# The least that libpq takes as a bound.
CONNECT_SECONDS = 2

T = TypeVar("T")
_NEVER = float("inf")


class Outage(NamedTuple):
    """Why a server does not answer."""

    text: str
    remedy: str | None


@dataclass(frozen=True)
class Snapshot:
    """A server that is unavailable has no snapshot, and an outage instead."""

    settings: Settings
    postgres: PostgresSnapshot | None
    postgres_outage: Outage | None
    redis: RedisSnapshot | None
    redis_outage: Outage | None
    diverged_shards: list[int] | None  # whose stream does not match the stored position; None: unknown
    stuck_shards: dict[int, float]  # for how many seconds they have not moved
    blockers: list[Session]  # if a shard is stuck: the sessions that hold what the drain needs
    thread_ages: list[ThreadAge]  # without Redis those of this process alone
    is_pool_busy: bool = False  # none of this process's connections became free in time


def take_snapshot(resources: Resources) -> Snapshot:
    """For a web or worker process, over its pool. Never raises if a server is unavailable.

    An outage is a known cause or the class of the error, without its text, and a process is only its role: anybody
    may read /health/ready.
    """
    pool = _PoolFirst(resources)
    snapshot = _take_snapshot(resources.settings, pool.connect, detailed=False)
    published = [age._replace(process=age.process.split(" ")[0]) for age in snapshot.thread_ages]
    return replace(snapshot, thread_ages=published + list_own_ages("this process"), is_pool_busy=pool.is_busy)


def take_detailed_snapshot(settings: Settings) -> Snapshot:
    """For an operator's command, over a connection of its own. An outage has the first line of the error's message."""
    return _take_snapshot(settings, partial(connect, settings), detailed=True)


class _PoolFirst:
    """Connections of the pool; once none is free in time, connections of their own.

    So requests that keep the pool busy do not look like an outage of Postgres, and the reason for a real one is
    raised, which the pool only logs.
    """

    def __init__(self, resources: Resources):
        self._resources = resources
        self.is_busy = False

    @contextmanager
    def connect(self) -> Iterator[BoundedConnection]:
        pooled = self._take_free()
        if pooled is None:
            with connect(self._resources.settings) as own:
                yield own
            return
        try:
            yield pooled
        finally:
            self._resources.database.putconn(pooled)

    def _take_free(self) -> BoundedConnection | None:
        if self.is_busy:
            return None
        try:
            return self._resources.database.getconn(timeout=WAIT_SECONDS)
        except PoolTimeout:
            self.is_busy = True
            return None


def connect(settings: Settings) -> BoundedConnection:
    """Raises psycopg.OperationalError soon if Postgres is unavailable."""
    options = connection_options("command", WAIT_SECONDS) | {"connect_timeout": CONNECT_SECONDS}
    return BoundedConnection.connect(settings.database_url, **options)


def _take_snapshot(settings: Settings, connect: Connect, *, detailed: bool) -> Snapshot:
    stream = TelemetryStream(replace(settings, redis_timeout_seconds=WAIT_SECONDS))
    with (
        ThreadPoolExecutor(1) as thread,
        open_redis(settings.redis_url, timeout_seconds=WAIT_SECONDS) as client,
        open_redis(settings.celery_broker_url, timeout_seconds=WAIT_SECONDS) as broker,
    ):
        pending = thread.submit(snapshot_postgres, connect, seconds=WAIT_SECONDS, detailed=detailed)
        in_redis, redis_outage = _or_outage(lambda: snapshot_redis(client, stream, broker), detailed)
        in_postgres, postgres_outage = _or_outage(pending.result, detailed)
    stuck = _find_stuck_shards(in_redis, in_postgres) if in_redis and in_postgres else {}
    diverged, blockers = None, []
    with closing(stream), suppress(psycopg.OperationalError, redis.RedisError):
        if in_redis and in_postgres and in_postgres.positions is not None:
            with connect() as connection, bounded(connection, WAIT_SECONDS):
                blockers = list_blockers(connection, detailed=detailed) if stuck else []
                diverged = list_diverged_shards(connection, stream)
    return Snapshot(
        settings=settings,
        postgres=in_postgres,
        postgres_outage=postgres_outage,
        redis=in_redis,
        redis_outage=redis_outage,
        diverged_shards=diverged,
        stuck_shards=stuck,
        blockers=blockers,
        thread_ages=in_redis.thread_ages if in_redis else [],
    )


def _or_outage(take: Callable[[], T], detailed: bool) -> tuple[T | None, Outage | None]:
    try:
        return take(), None
    except (psycopg.Error, redis.RedisError, OSError) as error:
        cause = find_cause(error)
        summary = cause.summary if cause else type(error).__name__
        text = f"{first_line(error)}. {summary}" if detailed else summary
        return None, Outage(text, cause and cause.remedy)


def _find_stuck_shards(redis: RedisSnapshot, postgres: PostgresSnapshot) -> dict[int, float]:
    still = {}
    for number, shard in redis.shards.items():
        # If the position has never moved, it stands still since its oldest entry came.
        position = (postgres.positions or {}).get(number)
        moved = postgres.seconds_since(position.moved_at) if position and position.moved_at else _NEVER
        if shard.backlog and min(moved, shard.lag_seconds) > STUCK_SECONDS:
            still[number] = min(moved, shard.lag_seconds)
    return still
