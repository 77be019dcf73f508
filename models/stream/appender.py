"""The appender: one thread a process, which puts what its requests bring into the stream, many with one round trip.

While Redis writes one group to its append-only file, the next one gathers. So a request costs Redis a fraction of a
round trip and of an fsync, the more the more come at a time, and waits for nobody where it comes alone.
"""

import threading
import time
from itertools import count
from queue import Empty, SimpleQueue

import redis
from redis.exceptions import BusyLoadingError, NoScriptError

from models.redis_client import open_redis
from models.settings import Settings
from models.stream.admission import APPEND, Appended, BacklogFull, OutcomeUnknown, StreamUnreachable, is_late
from models.stream.pending import Append, Group

# Above this share of Redis's memory nothing is taken any more: the rest is the broker's, whose messages have the
# backlog drained, and the trim's.
MEMORY_SHARE = 0.9
MEMORY_CHECK_SECONDS = 0.25
# How long a group is asked for again after its answer got lost, before its outcome is called unknown.
PATIENCE_SECONDS = 4.0
_PAUSE_SECONDS = 0.1
# Appends that share a round trip; Redis serves nobody else meanwhile.
MAX_GROUP = 256


class _NotSent(Exception):
    """No connection: the appends never left this process."""


class Appender:
    """Starts its thread at the first append: after a fork. Connects at the first append, too."""

    def __init__(self, settings: Settings):
        self._shards = settings.stream_shards
        self._bound = settings.shard_max_entries
        self._timeout = settings.redis_timeout_seconds
        self._waiting: SimpleQueue[Append | None] = SimpleQueue()
        self._turn = count(threading.get_native_id())  # each process begins with another shard
        self._start = threading.Lock()
        self._thread: threading.Thread | None = None
        self._clock_offset_ms: float | None = None  # Redis's clock less our monotonic one
        self._memory_checked_at = -MEMORY_CHECK_SECONDS
        self._redis = open_redis(settings.redis_url, timeout_seconds=self._timeout)
        self._script = self._redis.register_script(APPEND)

    def append(self, append: Append) -> Appended:
        """Waits until it is in the stream, or can't be. Threads share this."""
        if self._thread is None:
            self._start_thread()
        self._waiting.put(append)
        return append.wait(self._timeout)

    def close(self) -> None:
        self._waiting.put(None)
        if self._thread:
            self._thread.join()
        self._redis.close()

    def _start_thread(self) -> None:
        with self._start:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="appender", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            groups = self._gather(first)
            try:
                self._send_until_answered(groups)
            except Exception as error:  # a fault of ours: these requests are answered 500, the thread goes on
                _fail(groups, error)

    def _gather(self, first: Append) -> list[Group]:
        """What waits by now, by shard. What may go anywhere goes to one shard together, another one each time."""
        gathered = [first]
        while len(gathered) < MAX_GROUP:
            try:
                append = self._waiting.get_nowait()
            except Empty:
                break
            if append is None:  # for the next turn, which ends the thread
                self._waiting.put(None)
                break
            gathered.append(append)
        groups: dict[int, Group] = {}
        anywhere = next(self._turn) % self._shards
        for append in gathered:
            if append.claim():
                shard = anywhere if append.shard is None else append.shard
                group = groups.get(shard) or groups.setdefault(shard, Group(shard))
                (group.others if append.conditions else group.plain).append(append)
        return list(groups.values())

    def _send_until_answered(self, groups: list[Group]) -> None:
        """Finishes every append: taken, refused, or unknown."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        maybe_taken = False
        while groups:
            try:
                self._send(groups, is_first=not maybe_taken)
            except (_NotSent, BacklogFull) as error:
                if not maybe_taken:
                    refused = error if isinstance(error, BacklogFull) else StreamUnreachable(str(error))
                    _fail(groups, refused)
                    return
            except (redis.ConnectionError, redis.TimeoutError):
                maybe_taken = True
            if groups and time.monotonic() >= give_up_at:
                _fail(groups, OutcomeUnknown("the answer of Redis got lost"))
                return
            if groups:
                time.sleep(_PAUSE_SECONDS)

    def _send(self, groups: list[Group], is_first: bool) -> None:
        """One round trip. Groups that were answered are finished and taken off the list.

        Raises what keeps the others from being answered.
        """
        try:
            connection = self._redis.connection_pool.get_connection()
        except redis.RedisError as error:
            raise _NotSent(str(error)) from error
        try:
            if is_first:  # later only the script may say no: it looks first for what may have been taken
                self._look_around(connection)
            self._exchange(connection, groups)
        except (_NotSent, BacklogFull):
            raise
        except BaseException:
            connection.disconnect()  # an answer may still be on its way: never to be read by another group
            raise
        finally:
            self._redis.connection_pool.release(connection)

    def _exchange(self, connection, groups: list[Group]) -> None:
        refused: Exception | None = None
        for is_last in (False, True):
            is_known = True
            for group, reply in self._ask(connection, groups):
                if isinstance(reply, NoScriptError):
                    is_known = False
                elif isinstance(reply, redis.ResponseError):  # by the server, at the script's first write at the latest
                    refused = BacklogFull("Redis is out of memory") if "OOM" in str(reply) else _NotSent(str(reply))
                else:
                    self._clock_offset_ms = reply[0] - time.monotonic() * 1000
                    if is_last or not is_late(reply):
                        group.finish(reply)
                        groups.remove(group)
            if refused:
                raise refused
            if not groups:
                return
            # Once more: with the script that Redis had forgotten, or by its clock as it just told it.
            if not is_known:
                connection.send_command("SCRIPT", "LOAD", APPEND)
                connection.read_response()
        raise _NotSent("Redis does not keep its scripts")

    def _ask(self, connection, groups: list[Group]) -> list[tuple[Group, list | redis.ResponseError]]:
        # Half of the time we wait for the answer: what the script did not do by then, it won't do.
        deadline_ms = int(time.monotonic() * 1000 + self._clock_offset_ms + self._timeout * 500)
        commands = (("EVALSHA", self._script.sha, *group.arguments(deadline_ms, self._bound)) for group in groups)
        connection.send_packed_command(connection.pack_commands(commands))
        return [(group, _read(connection)) for group in groups]

    def _look_around(self, connection) -> None:
        """What an append must know beforehand: Redis's clock, once, and its memory, every so often."""
        try:
            if self._clock_offset_ms is None:
                connection.send_command("TIME")
                seconds, microseconds = map(int, connection.read_response())
                self._clock_offset_ms = seconds * 1000 + microseconds / 1000 - time.monotonic() * 1000
            if time.monotonic() >= self._memory_checked_at + MEMORY_CHECK_SECONDS:
                connection.send_command("INFO", "memory")
                _refuse_without_memory(connection.read_response())
                self._memory_checked_at = time.monotonic()
        except (redis.ConnectionError, redis.TimeoutError) as error:
            connection.disconnect()
            raise _NotSent(str(error)) from error


def _read(connection) -> list | redis.ResponseError:
    try:
        return connection.read_response()
    except BusyLoadingError as error:
        raise _NotSent("Redis is loading its append-only file") from error
    except redis.ResponseError as error:
        return error


def _refuse_without_memory(info: bytes) -> None:
    told = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    bound = int(told["maxmemory"]) * MEMORY_SHARE
    if 0 < bound < int(told["used_memory"]):
        raise BacklogFull("Redis is nearly out of memory")


def _fail(groups: list[Group], error: Exception) -> None:
    for group in groups:
        group.fail(error)
