"""The devices that each key has posted for, so that their number is bounded: a key can't make up devices without end.

    devices:{<owner>}            set of device ids; in the hash slot of the owner
    devices:{<owner>}:version    counts the times that devices were forgotten

Each process remembers the ids that it has seen in the set: a known device costs a look-up in memory, a new one a round
trip to Redis. A set that no process has used for TTL_SECONDS is gone.
"""

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import structlog
from redis.exceptions import RedisError

from models.access.keys import Key
from models.access.limits import REDIS_WAIT_SECONDS
from models.causes import log_fields
from models.redis_client import open_redis
from models.settings import Settings

# After this time a process learns whether devices were forgotten.
RECHECK_SECONDS = 60.0
TTL_SECONDS = 90 * 86_400
# Redis serves no other client while it adds the ids of one call.
IDS_AT_ONCE = 1_000

# Returns the version, and the ids that were not added because the set has ARGV[1] others.
_CLAIM = """
local count, most, refused = redis.call('SCARD', KEYS[1]), tonumber(ARGV[1]), {}
for i = 3, #ARGV do
  if redis.call('SISMEMBER', KEYS[1], ARGV[i]) == 0 then
    if count < most then
      redis.call('SADD', KEYS[1], ARGV[i])
      count = count + 1
    else
      refused[#refused + 1] = ARGV[i]
    end
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[2])
return {redis.call('GET', KEYS[2]) or '0', refused}
"""

log = structlog.get_logger()


def max_devices(key: Key, settings: Settings) -> int | None:
    """The number of devices that the key may post for; None: no bound but its own list of devices."""
    if key.max_devices:
        return key.max_devices
    if key.binding is None:
        return settings.unbound_key_max_devices or None
    return (settings.key_max_devices or None) if key.binding.prefix else None


@dataclass
class _Known:
    version: bytes = b""
    ids: set[str] = field(default_factory=set)
    checked_at: float = -RECHECK_SECONDS

    @property
    def is_fresh(self) -> bool:
        return time.monotonic() - self.checked_at < RECHECK_SECONDS


class KnownDevices:
    """What one process knows. Connects at its first use; threads share it."""

    def __init__(self, settings: Settings):
        self._redis = open_redis(settings.redis_url, timeout_seconds=REDIS_WAIT_SECONDS)
        self._claim = self._redis.register_script(_CLAIM)
        self._of_owner: dict[str, _Known] = {}

    def knows(self, owner: str, device_ids: Iterable[str]) -> bool:
        """Whether the owner has posted for all of them, as far as this process knows."""
        known = self._of_owner.get(owner)
        return known is not None and known.is_fresh and known.ids.issuperset(device_ids)

    def claim(self, owner: str, most: int, device_ids: Collection[str]) -> frozenset[str]:
        """Adds the ids to those of the owner, up to `most` altogether; returns the ids that were not added.

        Fails open: none is refused while Redis is unavailable.
        """
        known = self._of_owner.setdefault(owner, _Known())
        try:
            if not known.is_fresh:
                known = self._refresh(owner, most)
            new = sorted(set(device_ids) - known.ids)
            while new and len(known.ids) < most:
                part, new = new[:IDS_AT_ONCE], new[IDS_AT_ONCE:]
                _, refused = self._call(owner, most, part)
                known.ids.update(set(part) - refused)
                if refused:  # from now on this process knows the whole set, and refuses without asking Redis
                    members: Any = self._redis.smembers(_set_key(owner))
                    known.ids.update(id_.decode() for id_ in members)
                    new = sorted(set(device_ids) - known.ids)
        except RedisError as error:
            log.warning("device_bounds_not_applied", **log_fields(error))
            return frozenset()
        return frozenset(new)

    def _refresh(self, owner: str, most: int) -> _Known:
        version, _ = self._call(owner, most, [])
        before = self._of_owner[owner]
        known = _Known(version, before.ids if before.version == version else set(), time.monotonic())
        self._of_owner[owner] = known
        return known

    def _call(self, owner: str, most: int, device_ids: list[str]) -> tuple[bytes, set[str]]:
        keys = [_set_key(owner), f"{_set_key(owner)}:version"]
        version, refused = self._claim(keys=keys, args=[most, TTL_SECONDS, *device_ids])
        return version, {id_.decode() for id_ in refused}


def forget_devices(settings: Settings, owners: Iterable[str], device_ids: Collection[str]) -> None:
    """Has every process forget the devices within RECHECK_SECONDS, for these owners. Raises redis.RedisError."""
    with open_redis(settings.redis_url, timeout_seconds=settings.redis_timeout_seconds) as client:
        for owner in owners:
            if device_ids and client.srem(_set_key(owner), *device_ids):
                client.incr(f"{_set_key(owner)}:version")


def count_known(settings: Settings, owners: Iterable[str]) -> dict[str, int]:
    """How many devices each owner has posted for. Raises redis.RedisError."""
    names = list(owners)
    with (
        open_redis(settings.redis_url, timeout_seconds=settings.redis_timeout_seconds) as client,
        client.pipeline(transaction=False) as pipeline,
    ):
        for owner in names:
            pipeline.scard(_set_key(owner))
        return dict(zip(names, pipeline.execute(), strict=True))


def _set_key(owner: str) -> str:
    return f"devices:{{{owner}}}"
