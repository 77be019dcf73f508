"""The telemetry stream, both its ends: the web appends entries, the drain reads and trims them.

An entry's life: appended by `append` (the answer to the device waits for Redis to have it on its append-only
file), read by the drain with `read_after`, stored in Postgres together with the shard's new position, and only
then removed by `trim`. Nothing else removes an entry. The keys are in models/stream/keys.py.
"""

from typing import NamedTuple
from zlib import crc32

import redis

from models.redis_client import open_redis
from models.settings import MAX_SHARDS, Settings
from models.stream.admission import Appended, Conditions
from models.stream.appender import Append, Appender
from models.stream.entry_ids import NO_ENTRY, EntryId, parse_entry_id
from models.stream.keys import FIELD, stored_key, stream_key


class StreamEntry(NamedTuple):
    entry_id: EntryId
    fields: dict[bytes, bytes]


# Out of memory, Redis refuses a SET unless its script has already written: the trim comes first.
# A late trim, after another drain went on, finds another stored id than it expects and leaves that one.
_TRIM = """
redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])
if (redis.call('GET', KEYS[2]) or '0-0') == ARGV[3] then redis.call('SET', KEYS[2], ARGV[2]) end
"""


class TelemetryStream:
    """A process's connections to the stream. Connects at the first use; safe to share between threads.

    Open it after a fork. Readers raise redis.RedisError where Redis is away.
    """

    def __init__(self, settings: Settings):
        self.shards = settings.stream_shards
        self._appender = Appender(settings)
        self._redis = open_redis(settings.redis_url, timeout_seconds=settings.redis_timeout_seconds)
        self._trim_script = self._redis.register_script(_TRIM)

    def close(self) -> None:
        self._appender.close()
        self._redis.close()

    # ── The web's end ────────────────────────────────────────────────────────────────────────────────────────

    def append(self, payload: bytes, owner: str | None = None, conditions: Conditions | None = None) -> Appended:
        """Appends one entry; returns once Redis has it on disk.

        Entries of one owner go to one shard, which keeps the tokens and the allowance of that owner; without an owner
        any shard is used. Conditions need an owner. Their token makes the append happen once within its time to live:
        a repeat returns the first entry and the first answer, and is not charged.
        Raises BacklogFull, LimitReached, StreamUnreachable, TokenReused (nothing was appended) or OutcomeUnknown.
        If the process ends here, the entry is in the stream once or not at all.
        """
        shard = None if owner is None else self.shard_of(owner)
        return self._appender.append(Append(payload, shard, conditions))

    def shard_of(self, owner: str) -> int:
        return crc32(owner.encode()) % self.shards

    # ── The drain's end ──────────────────────────────────────────────────────────────────────────────────────

    def read_after(self, shard: int, entry_id: EntryId, count: int) -> list[StreamEntry]:
        """Up to `count` entries that come after `entry_id`, oldest first."""
        found = self._redis.xrange(stream_key(shard), min=f"({entry_id}", count=count)
        return [StreamEntry(parse_entry_id(id_), fields) for id_, fields in found]

    def trim(self, shard: int, entry_id: EntryId, *, replaces: EntryId) -> None:
        """Removes the entries up to and including `entry_id`, which Postgres has, and makes it the stored id.

        `replaces` is the stored id before. If another drain has changed that meanwhile, its stored id stays.
        """
        keys = [stream_key(shard), stored_key(shard)]
        self._trim_script(keys=keys, args=[str(entry_id.next), str(entry_id), str(replaces)])

    def remove(self, shard: int, entries: list[EntryId]) -> None:
        """Removes single entries that Postgres has."""
        self._redis.xdel(stream_key(shard), *map(str, entries))

    def stored_id(self, shard: int) -> EntryId:
        """The newest entry that Postgres has, by the last trim; NO_ENTRY if the stream was never trimmed."""
        stored = self._redis.get(stored_key(shard))
        return parse_entry_id(stored) if stored else NO_ENTRY

    def raise_last_id(self, shard: int, entry_id: EntryId) -> None:
        """Makes every id given from now on greater than `entry_id`, whatever Redis's clock says."""
        key = stream_key(shard)
        if not self._redis.exists(key):
            self._redis.xadd(key, {FIELD: b""}, id=str(entry_id))
            self._redis.xdel(key, str(entry_id))
        elif self.last_id(shard) < entry_id:
            self._redis.execute_command("XSETID", key, str(entry_id))

    def last_id(self, shard: int) -> EntryId:
        """The last id the stream gave, of whatever became of that entry; 0-0 where there is no stream."""
        try:
            return parse_entry_id(self._redis.xinfo_stream(stream_key(shard))["last-generated-id"])
        except redis.ResponseError:
            return NO_ENTRY

    # ── Looking on ───────────────────────────────────────────────────────────────────────────────────────────

    def backlog(self, shard: int) -> int:
        """Entries in the shard's stream: what is not yet in Postgres, and for a moment what was just stored."""
        return self._redis.xlen(stream_key(shard))

    def oldest(self, shard: int) -> EntryId | None:
        """The oldest entry of the shard's stream, None where it is empty."""
        found = self._redis.xrange(stream_key(shard), count=1)
        return parse_entry_id(found[0][0]) if found else None

    def known_shards(self) -> list[int]:
        """The configured shards, and those beyond them that still hold a stream."""
        beyond = range(self.shards, MAX_SHARDS)
        with self._redis.pipeline(transaction=False) as pipeline:
            for shard in beyond:
                pipeline.exists(stream_key(shard))
            found = pipeline.execute()
        return [*range(self.shards), *(shard for shard, exists in zip(beyond, found, strict=True) if exists)]

    def contains(self, shard: int, entry_id: EntryId) -> bool:
        return bool(self._redis.xrange(stream_key(shard), min=str(entry_id), max=str(entry_id), count=1))

    def ping(self) -> None:
        """Raises redis.RedisError where Redis does not answer."""
        self._redis.ping()
