"""The telemetry stream, both its ends: the web appends entries, the drain reads and trims them.

Keys of shard n (the braces keep a shard's keys on one node of a cluster):

    telemetry:{n}                 stream; an entry is one field, `v1`, holding an encoded `Entry`
    telemetry:{n}:stored          id of the newest entry that is in Postgres, written when the stream is trimmed
    telemetry:{n}:token:<token>   "<entry id> <fingerprint> <answer>": what was appended under this token
    telemetry:{n}:bucket:<owner>  what an API key may still bring (models/limits.py)

An entry's life: appended by `append` (the answer to the device waits for Redis to have it on its append-only
file), read by the drain with `read_after`, stored in Postgres together with the shard's new position, and only
then removed by `trim`. Nothing else removes an entry.
"""

import time
import uuid
from dataclasses import dataclass

import redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, NoScriptError
from redis.retry import Retry

from models.admission import APPEND
from models.entry_ids import EntryId, parse_entry_id
from models.limits import Allowance, Charge, LimitReached
from models.settings import MAX_SHARDS, Settings

FIELD = b"v1"
StreamEntry = tuple[EntryId, dict[bytes, bytes]]

# Out of memory Redis refuses the marks of a trim too, unless its script has written before: it removes first.
# One that comes late, after another drain went on, finds another mark than its own and leaves that alone.
_TRIM = """
redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])
if (redis.call('GET', KEYS[2]) or '0-0') == ARGV[3] then redis.call('SET', KEYS[2], ARGV[2]) end
"""

# Above this share of Redis's memory nothing is taken any more: the rest is the broker's, whose messages have the
# backlog drained, and the trim's.
MEMORY_SHARE = 0.9
MEMORY_CHECK_SECONDS = 0.25
# A generated token only has to outlive the attempts of one request.
GENERATED_TOKEN_TTL_SECONDS = 60
# How long a request asks again after its answer got lost, before its outcome is called unknown.
PATIENCE_SECONDS = 4.0
_PAUSE_SECONDS = 0.1


class BacklogFull(Exception):
    """The shard's backlog is at its bound, or Redis is out of memory. Nothing was taken."""


class StreamUnreachable(Exception):
    """Redis can't be reached, or did not get to the append in time. Nothing was taken."""


class OutcomeUnknown(Exception):
    """The append was sent, its answer got lost, and Redis could not be asked again: taken once, or not at all."""


class TokenReused(Exception):
    """The token stands for an append with another fingerprint. Nothing was taken."""


@dataclass(frozen=True, slots=True)
class Appended:
    """An entry that the stream has. `answer` is what the first request under this token was answered with."""

    entry_id: EntryId
    was_empty: bool
    replayed: bool
    answer: bytes
    allowance: Allowance | None = None  # how the bucket stands that was charged


class TelemetryStream:
    """A process's connections to the stream. Connects at the first use; safe to share between threads.

    Open it after a fork. Readers raise redis.RedisError where Redis is away.
    """

    def __init__(self, settings: Settings):
        self.shards = settings.stream_shards
        self._shard_max_entries = settings.shard_max_entries
        self._timeout = settings.redis_timeout_seconds
        self._clock_offset_ms: float | None = None  # Redis's clock less our monotonic one
        # No retries by the client: it can't tell whether a lost append was taken; the token can.
        self._redis = redis.Redis.from_url(
            settings.redis_url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=self._timeout,
            socket_connect_timeout=self._timeout,
            socket_keepalive=True,
            max_connections=1000,
        )
        self._append_script = self._redis.register_script(APPEND)
        self._trim_script = self._redis.register_script(_TRIM)
        self._memory_checked_at = -MEMORY_CHECK_SECONDS

    def close(self) -> None:
        self._redis.close()

    # ── The web's end ────────────────────────────────────────────────────────────────────────────────────────

    def append(
        self,
        shard: int,
        payload: bytes,
        *,
        token: str | None = None,
        token_ttl_seconds: int = GENERATED_TOKEN_TTL_SECONDS,
        fingerprint: str = "",
        answer: bytes = b"",
        charge: Charge | None = None,
    ) -> Appended:
        """Puts one entry into the shard's stream, or says why not.

        `token` makes the append happen once however often it is asked for within its time to live; a repeat
        returns the first entry and the first answer. Without one a token is made up, which covers the attempts
        of this call. `charge` is taken out of its owner's bucket, by the first append under a token alone.
        Raises BacklogFull, LimitReached, StreamUnreachable, TokenReused (nothing was taken) or OutcomeUnknown.
        If the process dies here, the entry is in the stream once or not at all.
        """
        keys = (_stream_key(shard), f"{_stream_key(shard)}:token:{token or uuid.uuid4().hex}")
        values = (token_ttl_seconds, fingerprint.encode() + b" " + answer)
        if charge:
            keys += (f"{_stream_key(shard)}:bucket:{charge.owner}",)
            values += (charge.limit.cost_ms(charge.readings), charge.limit.most_missing_ms)
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        maybe_taken = False
        while True:
            try:
                reply = self._try_append(keys, payload, values, is_first=not maybe_taken)
            except _NotSent as error:
                if not maybe_taken:
                    raise StreamUnreachable(str(error)) from error
            except (BacklogFull, StreamUnreachable):
                if not maybe_taken:
                    raise
            except (redis.ConnectionError, redis.TimeoutError):
                maybe_taken = True
            else:
                return self._read_reply(reply, fingerprint, charge)
            if time.monotonic() >= give_up_at:
                raise OutcomeUnknown("the answer of Redis got lost")
            time.sleep(_PAUSE_SECONDS)

    def _try_append(self, keys: tuple, payload: bytes, values: tuple, is_first: bool) -> list:
        try:
            connection = self._redis.connection_pool.get_connection()
        except redis.RedisError as error:
            raise _NotSent(str(error)) from error
        try:
            if is_first:  # later only the script may say no: it looks first for what may have been taken
                self._look_around(connection)
            for _ in range(2):
                # Half of the time we wait for the answer: what the script did not do by then, it won't do.
                deadline = time.monotonic() * 1000 + self._clock_offset_ms + self._timeout * 500
                arguments = (len(keys), *keys, payload, int(deadline), self._shard_max_entries, *values)
                reply = self._evaluate(connection, arguments)
                if reply[0] in (b"late", b"added"):
                    self._clock_offset_ms = reply[2] - time.monotonic() * 1000
                if reply[0] != b"late":  # once more with Redis's clock as it just told it
                    break
            return reply
        except (BacklogFull, _NotSent):
            raise
        except BusyLoadingError as error:
            raise _NotSent("Redis is loading its append-only file") from error
        except redis.ResponseError as error:  # refused by the server, with the script's first write at the latest
            if "OOM" in str(error):
                raise BacklogFull("Redis is out of memory") from error
            raise StreamUnreachable(str(error)) from error
        except BaseException:
            connection.disconnect()  # an answer may still be on its way: never to be read by another request
            raise
        finally:
            self._redis.connection_pool.release(connection)

    def _look_around(self, connection) -> None:
        """What an append must know beforehand: Redis's clock, once, and its memory, every so often."""
        try:
            if self._clock_offset_ms is None:
                connection.send_command("TIME")
                seconds, microseconds = map(int, connection.read_response())
                self._clock_offset_ms = seconds * 1000 + microseconds / 1000 - time.monotonic() * 1000
            if time.monotonic() >= self._memory_checked_at + MEMORY_CHECK_SECONDS:
                connection.send_command("INFO", "memory")
                self._refuse_without_memory(connection.read_response().decode())
                self._memory_checked_at = time.monotonic()
        except (redis.ConnectionError, redis.TimeoutError) as error:
            connection.disconnect()
            raise _NotSent(str(error)) from error

    def _refuse_without_memory(self, info: str) -> None:
        told = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        bound = int(told["maxmemory"]) * MEMORY_SHARE
        if 0 < bound < int(told["used_memory"]):
            raise BacklogFull("Redis is nearly out of memory")

    def _evaluate(self, connection, arguments: tuple) -> list:
        try:
            connection.send_command("EVALSHA", self._append_script.sha, *arguments)
            return connection.read_response()
        except NoScriptError:
            connection.send_command("EVAL", APPEND, *arguments)
            return connection.read_response()

    def _read_reply(self, reply: list, fingerprint: str, charge: Charge | None = None) -> Appended:
        verdict, detail = reply[0], reply[1]
        allowance = Allowance(charge.limit, float(reply[3])) if charge and len(reply) > 3 else None
        if verdict == b"added":
            return Appended(parse_entry_id(detail), reply[4] == 0, replayed=False, answer=b"", allowance=allowance)
        if verdict == b"seen":
            entry_id, first_fingerprint, first_answer = detail.split(b" ", 2)
            if first_fingerprint.decode() != fingerprint:
                raise TokenReused
            return Appended(parse_entry_id(entry_id), False, replayed=True, answer=first_answer, allowance=allowance)
        if verdict == b"full":
            raise BacklogFull(f"the backlog stands at {detail} entries")
        if verdict == b"limited":
            raise LimitReached(allowance)
        raise StreamUnreachable("Redis took too long")

    # ── The drain's end ──────────────────────────────────────────────────────────────────────────────────────

    def read_after(self, shard: int, entry_id: EntryId, count: int) -> list[StreamEntry]:
        """Up to `count` entries that come after `entry_id`, oldest first."""
        found = self._redis.xrange(_stream_key(shard), min=f"({entry_id}", count=count)
        return [(parse_entry_id(id_), fields) for id_, fields in found]

    def trim(self, shard: int, entry_id: EntryId, *, mark: EntryId) -> None:
        """Removes the entries up to and with `entry_id`, which Postgres has, and marks that it has them.

        `mark` is the one that this replaces; where another stands by now, another drain went on, and it stays.
        """
        keys = [_stream_key(shard), f"{_stream_key(shard)}:stored"]
        self._trim_script(keys=keys, args=[str(entry_id.next), str(entry_id), str(mark)])

    def remove(self, shard: int, entries: list[EntryId]) -> None:
        """Removes single entries that Postgres has."""
        self._redis.xdel(_stream_key(shard), *map(str, entries))

    def stored_mark(self, shard: int) -> EntryId | None:
        """The newest entry that the stream knows to be stored; None in a stream that was never trimmed."""
        mark = self._redis.get(f"{_stream_key(shard)}:stored")
        return parse_entry_id(mark) if mark else None

    def raise_last_id(self, shard: int, entry_id: EntryId) -> None:
        """Makes every id given from now on greater than `entry_id`, whatever Redis's clock says."""
        key = _stream_key(shard)
        if not self._redis.exists(key):
            self._redis.xadd(key, {FIELD: b""}, id=str(entry_id))
            self._redis.xdel(key, str(entry_id))
        elif self.last_id(shard) < entry_id:
            self._redis.execute_command("XSETID", key, str(entry_id))

    def last_id(self, shard: int) -> EntryId:
        """The last id the stream gave, of whatever became of that entry; 0-0 where there is no stream."""
        try:
            return parse_entry_id(self._redis.xinfo_stream(_stream_key(shard))["last-generated-id"])
        except redis.ResponseError:
            return EntryId(0, 0)

    # ── Looking on ───────────────────────────────────────────────────────────────────────────────────────────

    def backlog(self, shard: int) -> int:
        """Entries in the shard's stream: what is not yet in Postgres, and for a moment what was just stored."""
        return self._redis.xlen(_stream_key(shard))

    def oldest(self, shard: int) -> EntryId | None:
        """The oldest entry of the shard's stream, None where it is empty."""
        found = self._redis.xrange(_stream_key(shard), count=1)
        return parse_entry_id(found[0][0]) if found else None

    def known_shards(self) -> list[int]:
        """The configured shards, and those beyond them that still hold a stream."""
        beyond = range(self.shards, MAX_SHARDS)
        with self._redis.pipeline(transaction=False) as pipeline:
            for shard in beyond:
                pipeline.exists(_stream_key(shard))
            found = pipeline.execute()
        return [*range(self.shards), *(shard for shard, exists in zip(beyond, found, strict=True) if exists)]

    def contains(self, shard: int, entry_id: EntryId) -> bool:
        return bool(self._redis.xrange(_stream_key(shard), min=str(entry_id), max=str(entry_id), count=1))

    def ping(self) -> None:
        """Raises redis.RedisError where Redis does not answer."""
        self._redis.ping()


class _NotSent(Exception):
    """No connection: the append never left this process."""


def _stream_key(shard: int) -> str:
    return f"telemetry:{{{shard}}}"
