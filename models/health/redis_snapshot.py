"""What Redis reports of itself, of each shard's stream and of the heartbeats."""

import time
from dataclasses import dataclass
from typing import Any

import redis

from models.observability.heartbeats import Heartbeats
from models.observability.thread_ages import ThreadAge, list_published_ages
from models.stream.entry_ids import EntryId
from models.stream.telemetry import TelemetryStream


@dataclass(frozen=True)
class ShardSnapshot:
    backlog: int  # entries
    lag_seconds: float  # age of the oldest entry by Redis's clock; 0 without a backlog


@dataclass(frozen=True)
class RedisSnapshot:
    ahead_seconds: float  # its clock minus this machine's
    info: dict[str, Any]  # of INFO
    appendfsync: str | None  # None: Redis does not allow CONFIG GET
    shards: dict[int, ShardSnapshot]
    heartbeat_ages: dict[str, float]  # seconds since a process was last seen, by its name
    thread_ages: list[ThreadAge]  # of all processes


def snapshot_redis(client: redis.Redis, stream: TelemetryStream) -> RedisSnapshot:
    """Raises redis.RedisError."""
    client.ping()  # connects, so that the clocks are compared over one round trip
    started = time.time()
    seconds, microseconds = client.time()
    now = seconds + microseconds / 1e6
    middle = (started + time.time()) / 2
    return RedisSnapshot(
        ahead_seconds=now - middle,
        info=client.info(),
        appendfsync=_appendfsync(client),
        shards={shard: _shard(stream.backlog(shard), stream.oldest(shard), now) for shard in stream.known_shards()},
        heartbeat_ages=Heartbeats(client).ages(),
        thread_ages=list_published_ages(client),
    )


def _shard(backlog: int, oldest: EntryId | None, now: float) -> ShardSnapshot:
    return ShardSnapshot(backlog, max(0.0, now - oldest.ms / 1000) if oldest else 0.0)


def _appendfsync(client: redis.Redis) -> str | None:
    try:
        found = client.config_get("appendfsync")
    except redis.ResponseError:  # many hosted Redis forbid or rename the command
        return None
    return found.get("appendfsync")
