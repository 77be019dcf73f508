"""Heartbeats of beat, of each worker, and of the sweep: a sweep that runs proves that workers take beat's tasks.

    telemetry:heartbeats   sorted set; members `beat`, `sweep` and `worker <name>`, scored by Redis's clock in seconds

All times are Redis's, so that the clocks of the machines need not agree.
"""

import redis

from models.redis_client import open_redis
from models.settings import Settings

BEAT = "beat"
SWEEP = "sweep"
WORKER = "worker "  # followed by its name

# Beat and the sweep send a heartbeat every second, a worker every two.
SILENT_SECONDS = 30
# A member that was last seen this long ago is removed.
FORGET_SECONDS = 3600
# A heartbeat must not delay its sender.
TIMEOUT_SECONDS = 1.0

_KEY = "telemetry:heartbeats"
_RECORD = """
local now = redis.call('TIME')[1]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('ZADD', KEYS[1], now, ARGV[1])
"""


def open_heartbeats(settings: Settings) -> "Heartbeats":
    """Connects at its first use; may be made before a fork."""
    return Heartbeats(open_redis(settings.redis_url, timeout_seconds=TIMEOUT_SECONDS))


class Heartbeats:
    """Every method raises redis.RedisError if Redis is unavailable."""

    def __init__(self, client: redis.Redis):
        self._redis = client
        self._record = client.register_script(_RECORD)

    def record(self, name: str) -> None:
        """Records that `name` was seen now."""
        self._record(keys=[_KEY], args=[name, FORGET_SECONDS])

    def remove(self, name: str) -> None:
        """Removes a process that shuts down in good order, so that it is not reported as silent."""
        self._redis.zrem(_KEY, name)

    def ages(self) -> dict[str, float]:
        """Seconds since each name was last seen, the most recent first."""
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.time()
            pipeline.zrange(_KEY, 0, -1, desc=True, withscores=True)
            (now, _), members = pipeline.execute()
        return {name.decode(): max(0.0, now - last_seen) for name, last_seen in members}
