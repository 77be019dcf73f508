"""The engine's figures at this moment, for operators: rates, backlog, devices and sizes. JSON is in camelCase."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import msgspec
import psycopg
from psycopg.rows import class_row, scalar_row

from models.database import bounded
from models.health.postgres_snapshot import PostgresSnapshot, if_migrated
from models.health.snapshot import Snapshot, connect
from models.observability.heartbeats import WORKER
from models.readings import KINDS
from models.settings import DIRECT_SHARD
from models.sql import one
from models.storage.live import NEW_WITHIN
from models.storage.partitions import list_partitions

# Rates are averages over this time.
RATE_SECONDS = 60
# Newest batches of a shard that are read for its rates: at 20 batches a second, more than RATE_SECONDS have.
_RATE_BATCHES = 2_000
# Longer than a snapshot may take: Postgres reads the size of every file of a database.
FIGURES_SECONDS = 5.0
MANY_DEAD_LETTERS = 100_000  # not counted beyond


class _Json(msgspec.Struct, rename="camel"):
    pass


class ShardFigures(_Json):
    shard: int
    backlog: int | None
    max_entries: int
    lag_seconds: float | None
    entries_per_second: float | None  # appended
    readings_stored_per_second: float | None
    moved_at: datetime | None
    failure: str | None


class WorkerFigures(_Json):
    name: str
    last_seen_seconds_ago: int


class DeviceFigures(_Json):
    online: int
    offline: int
    new: int  # whose first reading was stored within the last day


class PartitionFigures(_Json):
    days_ahead: int | None
    count: int
    bytes: int
    today_bytes: int


class PostgresFigures(_Json):
    version: int
    bytes: int


class RedisFigures(_Json):
    version: str | None
    used_bytes: int
    max_bytes: int


class EngineFigures(_Json):
    """A figure is None if its server is unavailable, or the schema is missing."""

    readings_stored_per_second: float | None
    shards: list[ShardFigures]
    workers: list[WorkerFigures] | None
    devices: dict[str, DeviceFigures] | None
    dead_letters: int | None  # not replayed; MANY_DEAD_LETTERS at most
    partitions: PartitionFigures | None
    postgres: PostgresFigures | None
    redis: RedisFigures | None


class _Stored(NamedTuple):
    """Of one shard, within RATE_SECONDS."""

    shard: int
    readings: int  # stored
    entries: int  # appended and stored


def collect_figures(snapshot: Snapshot) -> EngineFigures:
    stored = devices = dead_letters = partitions = postgres = None
    if snapshot.postgres:
        with suppress(psycopg.OperationalError), connect(snapshot.settings) as connection:
            connection.execute(f"set statement_timeout = '{FIGURES_SECONDS:g}s'")
            with bounded(connection, FIGURES_SECONDS):
                stored = if_migrated(partial(_stored, snapshot=snapshot.postgres), connection)
                seconds = snapshot.settings.offline_after_seconds
                devices = if_migrated(partial(_devices, offline_after_seconds=seconds), connection)
                dead_letters = if_migrated(_count_dead_letters, connection)
                partitions = if_migrated(partial(_partitions, days_ahead=snapshot.postgres.days_ahead), connection)
                size = connection.cursor(row_factory=scalar_row).execute("select pg_database_size(current_database())")
                postgres = PostgresFigures(snapshot.postgres.version // 10_000, one(size))
    return EngineFigures(
        readings_stored_per_second=None if stored is None else _per_second(sum(s.readings for s in stored.values())),
        shards=_shards(snapshot, stored),
        workers=_workers(snapshot.redis.heartbeat_ages) if snapshot.redis else None,
        devices=devices,
        dead_letters=dead_letters,
        partitions=partitions,
        postgres=postgres,
        redis=_redis(snapshot.redis.info) if snapshot.redis else None,
    )


def _per_second(count: int) -> float:
    return round(count / RATE_SECONDS, 1)


def _shards(snapshot: Snapshot, stored: Mapping[int, _Stored] | None) -> list[ShardFigures]:
    waiting = snapshot.redis.shards if snapshot.redis else {}
    positions = (snapshot.postgres and snapshot.postgres.positions) or {}
    shards = []
    for number in sorted({*waiting, *positions}):
        entries, position = waiting.get(number), positions.get(number)
        rate = None if stored is None else stored.get(number, _Stored(number, 0, 0))
        appended = None
        if entries and rate:
            # An appended entry is in a recent batch or still in the backlog, which may reach back further.
            appended = round((entries.backlog + rate.entries) / max(RATE_SECONDS, entries.lag_seconds), 1)
        shards.append(
            ShardFigures(
                shard=number,
                backlog=entries.backlog if entries else None,
                max_entries=snapshot.settings.shard_max_entries,
                lag_seconds=round(entries.lag_seconds, 1) if entries else None,
                entries_per_second=appended,
                readings_stored_per_second=_per_second(rate.readings) if rate else None,
                moved_at=position.moved_at if position else None,
                failure=position.failure if position else None,
            )
        )
    return shards


def _stored(connection: psycopg.Connection[Any], snapshot: PostgresSnapshot) -> dict[int, _Stored]:
    """By shard. Reads ingest_batches backwards by its key."""
    since = snapshot.now - timedelta(seconds=RATE_SECONDS)
    rows = connection.cursor(row_factory=class_row(_Stored)).execute(
        """select shard,
                  coalesce(sum(readings) filter (where stored_at > %(since)s), 0)::int8 as readings,
                  coalesce(sum(cardinality(entries)) filter (where first_entry >= %(first)s), 0)::int8 as entries
           from unnest(%(shards)s::int[]) as wanted (number)
           cross join lateral (select * from ingest_batches where shard = number
                               order by last_entry desc limit %(batches)s) as newest
           group by shard""",
        {
            "since": since,
            "first": int(since.timestamp() * 1000) << 20,  # an entry id as ingest_batches has it
            "shards": [*(snapshot.positions or ()), DIRECT_SHARD],
            "batches": _RATE_BATCHES,
        },
    )
    return {row.shard: row for row in rows}


def _workers(ages: dict[str, float]) -> list[WorkerFigures]:
    workers = ((name, round(age)) for name, age in ages.items() if name.startswith(WORKER))
    return [WorkerFigures(name.removeprefix(WORKER), age) for name, age in workers]


def _devices(connection: psycopg.Connection[Any], offline_after_seconds: int) -> dict[str, DeviceFigures]:
    since = datetime.now(UTC) - timedelta(seconds=offline_after_seconds)
    return {
        kind.name: one(
            connection.cursor(row_factory=class_row(DeviceFigures)).execute(
                f"""select count(*) filter (where recorded_at >= %(since)s) as online,
                           count(*) filter (where recorded_at < %(since)s) as offline,
                           count(*) filter (where first_stored_at > now() - %(new_within)s) as new from {kind.live}""",
                {"since": since, "new_within": NEW_WITHIN},
            )
        )
        for kind in KINDS.values()
    }


def _count_dead_letters(connection: psycopg.Connection[Any]) -> int:
    counted = "select count(*) from (select from dead_letters where replayed_at is null limit %s) as counted"
    return one(connection.cursor(row_factory=scalar_row).execute(counted, [MANY_DEAD_LETTERS]))


def _partitions(connection: psycopg.Connection[Any], days_ahead: int | None) -> PartitionFigures:
    found = list_partitions(connection)
    today = datetime.now(UTC).date()
    return PartitionFigures(
        days_ahead=days_ahead,
        count=len(found),
        bytes=sum(partition.bytes for partition in found),
        today_bytes=sum(partition.bytes for partition in found if partition.day == today),
    )


def _redis(info: dict[str, Any]) -> RedisFigures:
    return RedisFigures(info.get("redis_version"), info["used_memory"], info.get("maxmemory", 0))
