"""The telemetry stream: the web appends entries, the drain reads and trims them.

The life of an entry: `append` adds it (the answer to the device waits until Redis has it in its append-only file),
the drain reads it with `read_after` and stores it in Postgres together with the shard's new position, and only then
`trim` removes it. Nothing else removes an entry. The keys are in models/stream/keys.py.
"""

from typing import Any, NamedTuple
from zlib import crc32

import redis

from models.access.limits import CHARGE, Allowance, Charge
from models.redis_client import open_redis
from models.settings import MAX_SHARDS, Settings
from models.stream.admission import Appended, Conditions
from models.stream.appender import Append, Appender
from models.stream.entry_ids import NO_ENTRY, EntryId, parse_entry_id
from models.stream.keys import (
    FIELD,
    RECEIVED_KEY,
    allowance_key,
    failure_key,
    former_stored_key,
    stream_key,
    token_key,
)

# Longer than the longest time between two tries: a statement's timeout.
FAILURE_SECONDS = 120


class StreamEntry(NamedTuple):
    entry_id: EntryId
    fields: dict[bytes, bytes]


# The stored id is the last delivered id of a consumer group that has no consumers. A stream that is deleted takes its
# groups along, so that a new stream of the same name has no stored id.
_GET_STORED_ID = """
local function get_stored_id()
  if redis.call('EXISTS', KEYS[1]) == 1 then
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
      local values = {}
      for i = 1, #group, 2 do values[group[i]] = group[i + 1] end
      if values['name'] == 'stored' then return values['last-delivered-id'], true end
    end
  end
  return redis.call('GET', KEYS[2]) or '0-0', false
end
"""
# Out of memory, Redis refuses to create a group unless its script has already written: the trim comes first.
# A late trim, after another drain went on, finds another stored id than it expects and leaves that one.
_TRIM = (
    _GET_STORED_ID
    + """
redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])
local stored_id, has_group = get_stored_id()
if stored_id ~= ARGV[3] then return end
if has_group then
  redis.call('XGROUP', 'SETID', KEYS[1], 'stored', ARGV[2])
else
  redis.call('XGROUP', 'CREATE', KEYS[1], 'stored', ARGV[2], 'MKSTREAM')
  redis.call('DEL', KEYS[2])
end
"""
)
# No later entry, of any shard, is received before ARGV[1].
_RAISE_RECEIVED = """
if tonumber(redis.call('GET', KEYS[1]) or 0) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
"""


class TelemetryStream:
    """A process's connections to the stream. Connects at the first use; threads may share it. Open it after a fork.

    All methods but `append` raise redis.RedisError if Redis is unavailable.
    """

    def __init__(self, settings: Settings):
        self.shards = settings.stream_shards
        self._appender = Appender(settings)
        self._redis = open_redis(settings.redis_url, timeout_seconds=settings.redis_timeout_seconds)
        self._charge_script = self._redis.register_script(CHARGE)
        self._trim_script = self._redis.register_script(_TRIM)
        self._stored_id_script = self._redis.register_script(f"{_GET_STORED_ID} return (get_stored_id())")
        self._raise_received_script = self._redis.register_script(_RAISE_RECEIVED)

    def close(self) -> None:
        self._appender.close()
        self._redis.close()

    # ── For the web ──────────────────────────────────────────────────────────────────────────

    def append(
        self, payload: bytes, owner: str | None = None, conditions: Conditions | None = None, *, readings: int = 1
    ) -> Appended:
        """Appends one entry; returns once Redis has it on disk.

        The received time of each of its `readings` is later than those of all entries that were appended before, on
        any shard and by any process.
        Entries of one owner go to one shard, which keeps the tokens and the allowance of that owner; without an owner
        any shard is used. Conditions need an owner. Their token makes the append happen once within its time to live:
        a repeat returns the first entry and the first answer, and is not charged.
        Raises BacklogFull, LimitReached, StreamUnreachable, TokenReused, TokensUsedUp (nothing was appended) or
        OutcomeUnknown.
        If the process ends here, the entry is in the stream once or not at all.
        """
        shard = None if owner is None else self.shard_of(owner)
        return self._appender.append(Append(payload, shard, conditions, readings))

    def charge(self, charge: Charge) -> Allowance | None:
        """Takes the readings of a refused request, even from an allowance that is used up; returns what is left.

        Fails open: None if Redis is unavailable.
        """
        cost = charge.limit.cost_ms(charge.units)
        try:
            deficit: Any = self._charge_script(
                keys=[allowance_key(self.shard_of(charge.owner), charge.owner)], args=[cost]
            )
        except redis.RedisError:
            return None
        return Allowance(charge.limit, float(deficit))

    def is_repeat(self, owner: str, token: str, fingerprint: str) -> bool:
        """Whether a request of this fingerprint was appended under this token. Raises redis.RedisError."""
        kept: Any = self._redis.get(token_key(self.shard_of(owner), token))
        return kept is not None and kept.split(b" ", 2)[1] == fingerprint.encode()

    def shard_of(self, owner: str) -> int:
        return crc32(owner.encode()) % self.shards

    # ── For the drain ──────────────────────────────────────────────────────────────────────────

    def read_after(self, shard: int, entry_id: EntryId, count: int) -> list[StreamEntry]:
        """Up to `count` entries that come after `entry_id`, oldest first."""
        found: Any = self._redis.xrange(stream_key(shard), min=f"({entry_id}", count=count)
        return [StreamEntry(parse_entry_id(id_), fields) for id_, fields in found]

    def trim(self, shard: int, entry_id: EntryId, *, replaces: EntryId) -> None:
        """Removes the entries up to and including `entry_id`, which Postgres has, and makes it the stored id.

        `replaces` is the stored id before. If another drain has changed that meanwhile, its stored id stays.
        """
        keys = [stream_key(shard), former_stored_key(shard)]
        self._trim_script(keys=keys, args=[str(entry_id.next), str(entry_id), str(replaces)])

    def remove(self, shard: int, entries: list[EntryId]) -> None:
        """Removes single entries that Postgres has."""
        self._redis.xdel(stream_key(shard), *map(str, entries))

    def stored_id(self, shard: int) -> EntryId:
        """The newest entry that Postgres has, by the last trim; NO_ENTRY if the stream was never trimmed."""
        stored: Any = self._stored_id_script(keys=[stream_key(shard), former_stored_key(shard)])
        return parse_entry_id(stored)

    def raise_last_id(self, shard: int, entry_id: EntryId) -> None:
        """Makes all future ids greater than `entry_id`, whatever Redis's clock shows; those of other shards too, but
        for entries that are appended at this moment."""
        self._raise_received_script(keys=[RECEIVED_KEY], args=[entry_id.received_at])
        key = stream_key(shard)
        if not self._redis.exists(key):
            self._redis.xadd(key, {FIELD: b""}, id=str(entry_id))
            self._redis.xdel(key, str(entry_id))
        elif self.last_id(shard) < entry_id:
            self._redis.execute_command("XSETID", key, str(entry_id))

    def last_id(self, shard: int) -> EntryId:
        """The last id that the stream assigned, also to an entry removed since; NO_ENTRY if there is no stream."""
        try:
            return parse_entry_id(self._redis.xinfo_stream(stream_key(shard))["last-generated-id"])
        except redis.ResponseError:
            return NO_ENTRY

    def note_failure(self, shard: int, failure: str) -> None:
        """Keeps for FAILURE_SECONDS why a drain failed: Postgres may be what fails, and could not keep it."""
        self._redis.set(failure_key(shard), failure, ex=FAILURE_SECONDS)

    # ── For health and metrics ──────────────────────────────────────────────────────────────────────────

    def backlog(self, shard: int) -> int:
        """Entries in the shard's stream: those not yet in Postgres, and for a moment those just stored."""
        return self._redis.xlen(stream_key(shard))

    def get_failure(self, shard: int) -> str | None:
        """Why a drain of the shard failed within FAILURE_SECONDS. One that succeeded since does not remove it."""
        failure: Any = self._redis.get(failure_key(shard))
        return failure.decode() if failure else None

    def oldest(self, shard: int) -> EntryId | None:
        """The oldest entry of the shard's stream, None if it is empty."""
        found: Any = self._redis.xrange(stream_key(shard), count=1)
        return parse_entry_id(found[0][0]) if found else None

    def known_shards(self) -> list[int]:
        """The configured shards, and those above them that still have a stream."""
        beyond = range(self.shards, MAX_SHARDS)
        with self._redis.pipeline(transaction=False) as pipeline:
            for shard in beyond:
                pipeline.exists(stream_key(shard))
            found = pipeline.execute()
        return [*range(self.shards), *(shard for shard, exists in zip(beyond, found, strict=True) if exists)]

    def contains(self, shard: int, entry_id: EntryId) -> bool:
        return bool(self._redis.xrange(stream_key(shard), min=str(entry_id), max=str(entry_id), count=1))
