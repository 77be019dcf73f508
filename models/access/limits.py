"""Limits of a key: an allowance of readings and one of requests, in Redis and by Redis's clock.

An allowance (a token bucket) refills at the limit's rate up to the burst. Redis keeps one number for it: the time at
which it is full again; a full one has no key. A request passes if one unit is left, whatever it costs: a batch larger
than the burst overdraws a full allowance, and the next request waits until one unit is back.

    telemetry:{n}:allowance:<owner>   readings; in the hash slot of the owner's shard, for the append script
    telemetry:tokens:<owner>          Idempotency-Keys, for the append script
    requests:{<owner>}                requests of the read side
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError

from models.causes import log_fields
from models.redis_client import open_redis
from models.settings import Settings

log = structlog.get_logger()

# All in milliseconds. The deficit is the time until the allowance is full, the cost the time in which that much
# refills. Stored to thousandths, which is why one unit is left up to 0.002 beyond the largest deficit.
ALLOWANCE_LUA = """
local function clock_ms()
  local clock = redis.call('TIME')
  return clock[1] * 1000 + math.floor(clock[2] / 1000)
end
local function get_deficit(allowance, now)
  return math.max(0, tonumber(redis.call('GET', allowance) or now) - now)
end
local function is_used_up(deficit, max_deficit)
  return deficit > tonumber(max_deficit) + 0.002
end
local function as_text(deficit)
  return string.format('%.3f', deficit)
end
local function set_deficit(allowance, now, deficit)
  redis.call('SET', allowance, as_text(now + deficit), 'PX', string.format('%.0f', math.ceil(deficit) + 1))
end
"""

_TAKE_REQUEST = f"""
{ALLOWANCE_LUA}
local now = clock_ms()
local deficit = get_deficit(KEYS[1], now)
if is_used_up(deficit, ARGV[2]) then return {{0, as_text(deficit)}} end
deficit = deficit + tonumber(ARGV[1])
set_deficit(KEYS[1], now, deficit)
return {{1, as_text(deficit)}}
"""

# The deficit after a charge that is taken even from an allowance that is used up.
CHARGE = f"""
{ALLOWANCE_LUA}
local now = clock_ms()
local deficit = get_deficit(KEYS[1], now) + tonumber(ARGV[1])
set_deficit(KEYS[1], now, deficit)
return as_text(deficit)
"""

# A process that has seen an allowance used up refuses its owner; after this time it looks at the allowance again.
RECHECK_SECONDS = 2.0

# The read side waits this long for its limits; after a failure it does not ask Redis for a while.
REDIS_WAIT_SECONDS = 0.25
PAUSE_SECONDS = 2.0
# The burst of requests, in seconds of the rate.
REQUEST_BURST_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Limit:
    per_second: float
    burst: int  # units of a full allowance

    @property
    def max_deficit_ms(self) -> float:
        """The largest deficit at which one unit is left."""
        return self.cost_ms(self.burst - 1)

    def cost_ms(self, count: int) -> float:
        return count * 1000 / self.per_second


@dataclass(frozen=True, slots=True)
class Charge:
    """What an append takes from an allowance of its owner: units are readings or tokens."""

    owner: str
    limit: Limit
    units: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """The state of an allowance."""

    limit: Limit
    deficit_ms: float

    @property
    def remaining(self) -> int:
        left = self.limit.burst - self.deficit_ms * self.limit.per_second / 1000
        return max(0, int(left + 0.001))

    @property
    def full_in_seconds(self) -> int:
        return math.ceil(self.deficit_ms / 1000)

    @property
    def wait_seconds(self) -> int:
        """Whole seconds, at least 1, until one unit is left."""
        return max(1, math.ceil((self.deficit_ms - self.limit.max_deficit_ms) / 1000))

    @property
    def is_used_up(self) -> bool:
        return self.deficit_ms > self.limit.max_deficit_ms

    def after(self, seconds: float) -> "Allowance":
        return Allowance(self.limit, max(0.0, self.deficit_ms - seconds * 1000))


class LimitReached(Exception):
    """The key's allowance is used up. Nothing was taken."""

    def __init__(self, allowance: Allowance):
        super().__init__(f"the allowance of {allowance.limit.burst} is used up")
        self.allowance = allowance


class UsedUpAllowances:
    """The allowances that this process has seen used up: their owners are refused before their bodies are read."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, Allowance]] = {}

    def note(self, owner: str, allowance: Allowance | None) -> None:
        """`allowance`: its state now; None: unknown."""
        if allowance and allowance.is_used_up:
            self._seen[owner] = time.monotonic(), allowance
        else:
            self._seen.pop(owner, None)

    def find(self, owner: str, look: Callable[[], Allowance | None]) -> Allowance | None:
        """The allowance by now, if it is used up. `look` gets its state from Redis, if it was seen a while ago."""
        if owner not in self._seen:
            return None
        seen_at, allowance = self._seen[owner]
        seconds = time.monotonic() - seen_at
        now: Allowance | None = allowance.after(seconds)
        if seconds >= RECHECK_SECONDS:
            now = look()
            self.note(owner, now)
        return now if now and now.is_used_up else None


class RequestLimits:
    """Counts the requests of the read side for each key. Connects at its first use; threads share it."""

    def __init__(self, settings: Settings):
        self._redis = open_redis(settings.redis_url, timeout_seconds=REDIS_WAIT_SECONDS)
        self._take = self._redis.register_script(_TAKE_REQUEST)
        self._paused_until = 0.0

    def take(self, owner: str, per_second: float) -> Allowance | None:
        """Takes one request and returns what is left. Raises LimitReached.

        Fails open: None if Redis is unavailable.
        """
        if time.monotonic() < self._paused_until:
            return None
        limit = Limit(per_second, max(1, math.ceil(REQUEST_BURST_SECONDS * per_second)))
        try:
            passes, deficit = self._take(keys=[f"requests:{{{owner}}}"], args=[limit.cost_ms(1), limit.max_deficit_ms])
        except RedisError as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            log.warning("request_limits_not_applied", **log_fields(error), seconds=PAUSE_SECONDS)
            return None
        allowance = Allowance(limit, float(deficit))
        if not passes:
            raise LimitReached(allowance)
        return allowance
