"""What a key may bring and ask for: token buckets in Redis, in Redis's time.

A bucket is one number, the time at which it will be full again; a bucket that is full is no key at all. While
it holds one, a request passes whatever it takes: a batch greater than the bucket takes it into debt, and the next
one waits until that is paid.

    telemetry:{n}:bucket:<owner>   readings; in the slot of the owner's shard, so that it is part of the admission
    requests:{<owner>}             requests of the read side
"""

import math
import time
from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError

from models.redis_client import open_redis
from models.settings import Settings

log = structlog.get_logger()

# Milliseconds all: what is missing in the bucket, and what is taken, is the time it takes to flow in. `most` may be
# missing for there to be one in it, by the thousandths to which it is kept.
ALLOWANCE_LUA = """
local function clock_ms()
  local clock = redis.call('TIME')
  return clock[1] * 1000 + math.floor(clock[2] / 1000)
end
local function full_in(bucket, now)
  return math.max(0, tonumber(redis.call('GET', bucket) or now) - now)
end
local function is_empty(missing, most)
  return missing > tonumber(most) + 0.002
end
local function shown(missing)
  return string.format('%.3f', missing)
end
local function take(bucket, now, missing)
  redis.call('SET', bucket, string.format('%.3f', now + missing), 'PX', string.format('%.0f', math.ceil(missing) + 1))
end
"""

_TAKE_REQUEST = f"""
{ALLOWANCE_LUA}
local now = clock_ms()
local missing = full_in(KEYS[1], now)
if is_empty(missing, ARGV[2]) then return {{0, shown(missing)}} end
missing = missing + tonumber(ARGV[1])
take(KEYS[1], now, missing)
return {{1, shown(missing)}}
"""

# The read side waits for its limits no longer than this, and where Redis is away it does not ask for a while.
REDIS_WAIT_SECONDS = 0.25
REST_SECONDS = 2.0
# Requests that may come at once: those of so many seconds.
REQUEST_BURST_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Limit:
    per_second: float
    burst: int  # what the bucket holds

    @property
    def most_missing_ms(self) -> float:
        """What may be missing for one to be there."""
        return self.cost_ms(self.burst - 1)

    def cost_ms(self, count: int) -> float:
        return count * 1000 / self.per_second


@dataclass(frozen=True, slots=True)
class Charge:
    """What an append takes out of its owner's bucket of readings."""

    owner: str
    limit: Limit
    readings: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """How a bucket stands."""

    limit: Limit
    full_in_ms: float

    @property
    def remaining(self) -> int:
        left = self.limit.burst - self.full_in_ms * self.limit.per_second / 1000
        return max(0, int(left + 0.001))

    @property
    def full_in_seconds(self) -> int:
        return math.ceil(self.full_in_ms / 1000)

    @property
    def wait_seconds(self) -> int:
        """Whole seconds, at least 1, after which there is one in the bucket again."""
        return max(1, math.ceil((self.full_in_ms - self.limit.most_missing_ms) / 1000))


class LimitReached(Exception):
    """The key's bucket is empty. Nothing was taken."""

    def __init__(self, allowance: Allowance):
        super().__init__(f"the bucket of {allowance.limit.burst} is empty")
        self.allowance = allowance


class RequestLimits:
    """Counts the requests of the read side, each key's for itself. Connects at the first use; threads share it."""

    def __init__(self, settings: Settings):
        self._redis = open_redis(settings.redis_url, timeout_seconds=REDIS_WAIT_SECONDS)
        self._take = self._redis.register_script(_TAKE_REQUEST)
        self._rests_until = 0.0

    def take(self, owner: str, per_second: float) -> Allowance | None:
        """One request; how the bucket stands then. Raises LimitReached.

        None where Redis can't tell: the request passes, for a limit is no reason to be away with it.
        """
        if time.monotonic() < self._rests_until:
            return None
        limit = Limit(per_second, max(1, math.ceil(REQUEST_BURST_SECONDS * per_second)))
        try:
            passes, missing = self._take(keys=[f"requests:{{{owner}}}"], args=[limit.cost_ms(1), limit.most_missing_ms])
        except RedisError as error:
            self._rests_until = time.monotonic() + REST_SECONDS
            log.warning("request_limits_not_kept", reason=str(error), seconds=REST_SECONDS)
            return None
        allowance = Allowance(limit, float(missing))
        if not passes:
            raise LimitReached(allowance)
        return allowance

    def close(self) -> None:
        self._redis.close()
