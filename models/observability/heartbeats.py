"""Who was heard when: beat, the workers, and the sweep, by which the workers prove that they do what beat asks for.

    telemetry:heard   sorted set; members `beat`, `sweep` and `worker <name>`, scored by Redis's clock in seconds

The times are Redis's own, so that no clock has to agree with another.
"""

import redis

from models.redis_client import open_redis
from models.settings import Settings

BEAT = "beat"
SWEEP = "sweep"
WORKER = "worker "  # and its name

# Beat rings and the sweep runs every second, a worker is heard every two: longer silence is no hiccup.
SILENT_SECONDS = 30
# Who was silent for so long is forgotten.
FORGET_SECONDS = 3600
# A look must be over in moments, and a heartbeat must not hold up who sends it.
LOOK_SECONDS = 1.0

_KEY = "telemetry:heard"
_RECORD = """
local now = redis.call('TIME')[1]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('ZADD', KEYS[1], now, ARGV[1])
"""


def looking_client(settings: Settings) -> redis.Redis:
    """A client that gives up soon and never tries twice. Connects at the first use; survives a fork."""
    return open_redis(settings.redis_url, timeout_seconds=LOOK_SECONDS)


class Heartbeats:
    """Every method raises redis.RedisError where Redis is away."""

    def __init__(self, client: redis.Redis):
        self._redis = client
        self._record = client.register_script(_RECORD)

    def record(self, name: str) -> None:
        """Records that `name` was seen now."""
        self._record(keys=[_KEY], args=[name, FORGET_SECONDS])

    def forget(self, who: str) -> None:
        """For who leaves in good order."""
        self._redis.zrem(_KEY, who)

    def ages(self) -> dict[str, float]:
        """How many seconds ago each was heard, the last first."""
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.time()
            pipeline.zrange(_KEY, 0, -1, desc=True, withscores=True)
            (seconds, _), found = pipeline.execute()
        return {who.decode(): max(0.0, seconds - heard) for who, heard in found}
