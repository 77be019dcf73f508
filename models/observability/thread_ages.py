"""Ages of watched threads, published by each process in Redis: readiness and doctor see those of all processes.

    telemetry:threads   hash; a field for each process, such as `web host/17`, with Redis's time in seconds and a JSON
                        object of ages in seconds by thread

A process that ended no longer publishes: its field is ignored after FRESH_SECONDS and deleted by the next publication.
"""

import os
import socket
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
import redis

from models.observability.heartbeats import TIMEOUT_SECONDS
from models.observability.threads import ROUND_SECONDS, list_thread_ages, start_rounds
from models.redis_client import open_redis
from models.settings import Settings

FRESH_SECONDS = 30

_KEY = "telemetry:threads"
_PUBLISH = """
local now = redis.call('TIME')[1]
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  if tonumber(fields[i + 1]:match('^%d+') or 0) < now - ARGV[3] then redis.call('HDEL', KEYS[1], fields[i]) end
end
redis.call('HSET', KEYS[1], ARGV[1], now .. ' ' .. ARGV[2])
"""
_decode = msgspec.json.Decoder(dict[str, float]).decode


class ThreadAge(NamedTuple):
    process: str  # `web host/17`; only `web` for readers without a key
    thread: str
    seconds: float  # since its last completed round


def start_publication(settings: Settings, role: str, pool: Any) -> None:
    """Publishes the ages of this process's threads until `pool` is closed. `role`: web or worker."""
    client = open_redis(settings.redis_url, timeout_seconds=TIMEOUT_SECONDS)
    publish_script = client.register_script(_PUBLISH)
    process = f"{role} {socket.gethostname()}/{os.getpid()}"

    def publish() -> None:
        ages = msgspec.json.encode(list_thread_ages())
        with suppress(redis.RedisError):  # another check names it
            publish_script(keys=[_KEY], args=[process, ages, FRESH_SECONDS])

    start_rounds("thread-ages", publish, seconds=ROUND_SECONDS, until=lambda: pool.closed)


def list_own_ages(role: str) -> list[ThreadAge]:
    """The ages of this process's threads."""
    return [ThreadAge(role, thread, seconds) for thread, seconds in list_thread_ages().items()]


def list_published_ages(client: redis.Redis) -> list[ThreadAge]:
    """The ages that live processes have published. Raises redis.RedisError."""
    now = int(client.time()[0])
    ages = []
    fields: Any = client.hgetall(_KEY)
    for process, value in fields.items():
        moment, _, published = value.partition(b" ")
        since = max(0, now - int(moment))
        if since <= FRESH_SECONDS:
            ages += [ThreadAge(process.decode(), thread, age + since) for thread, age in _decode(published).items()]
    return ages
