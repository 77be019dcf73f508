"""What Redis reports of itself, of each shard's stream and of the heartbeats."""

import time
from dataclasses import dataclass
from typing import Any

import msgspec
import redis

from models.observability.heartbeats import Heartbeats
from models.observability.thread_ages import ThreadAge, list_published_ages
from models.stream.telemetry import TelemetryStream

# The lists of the broker, as in celeryconfig.py.
QUEUES = ("drain", "maintenance")
MESSAGES_READ = 20


@dataclass(frozen=True)
class ShardSnapshot:
    backlog: int  # entries
    lag_seconds: float  # age of the oldest entry by Redis's clock; 0 without a backlog
    failure: str | None = None  # of the last drain, if it failed within the last minutes


@dataclass(frozen=True)
class RedisSnapshot:
    ahead_seconds: float  # its clock minus this machine's
    info: dict[str, Any]  # of INFO
    appendfsync: str | None  # None: Redis does not allow CONFIG GET
    shards: dict[int, ShardSnapshot]
    garbage: dict[str, str]  # the first message of a queue of the broker that is no task, by queue
    heartbeat_ages: dict[str, float]  # seconds since a process was last seen, by its name
    thread_ages: list[ThreadAge]  # of all processes


def snapshot_redis(client: redis.Redis, stream: TelemetryStream, broker: redis.Redis) -> RedisSnapshot:
    """`broker`: where the queues are; often the same server. Raises redis.RedisError."""
    client.ping()  # connects, so that the clocks are compared over one round trip
    started = time.time()
    seconds, microseconds = client.time()
    now = seconds + microseconds / 1e6
    middle = (started + time.time()) / 2
    return RedisSnapshot(
        ahead_seconds=now - middle,
        info=client.info(),
        appendfsync=_appendfsync(client),
        shards={shard: _shard(stream, shard, now) for shard in stream.known_shards()},
        garbage=_garbage(broker),
        heartbeat_ages=Heartbeats(client).ages(),
        thread_ages=list_published_ages(client),
    )


def _shard(stream: TelemetryStream, shard: int, now: float) -> ShardSnapshot:
    backlog, oldest = stream.backlog(shard), stream.oldest(shard)
    lag_seconds = max(0.0, now - oldest.ms / 1000) if oldest else 0.0
    return ShardSnapshot(backlog, lag_seconds, stream.get_failure(shard) if backlog else None)


def _garbage(broker: redis.Redis) -> dict[str, str]:
    found = {}
    for queue in QUEUES:
        next_ones: Any = broker.lrange(queue, -MESSAGES_READ, -1)  # taken from this end
        for message in reversed(next_ones):
            try:
                msgspec.json.decode(message, type=TaskMessage)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                found[queue] = repr(message[:40])[1:]
                break
    return found


class _Properties(msgspec.Struct):
    delivery_tag: str
    delivery_info: dict[str, Any]


class TaskMessage(msgspec.Struct):
    """The envelope of a task in the broker. (kombu, "Message Format" of virtual transports)"""

    body: str
    headers: dict[str, Any]
    properties: _Properties


def _appendfsync(client: redis.Redis) -> str | None:
    try:
        found = client.config_get("appendfsync")
    except redis.ResponseError:  # many hosted Redis forbid or rename the command
        return None
    return found.get("appendfsync")
