"""The appender: one thread a process that appends the entries of many requests with one round trip.

While Redis writes one group to its append-only file, the next group gathers. The more requests arrive at a time, the
smaller each one's share of a round trip and an fsync; a request that arrives alone is sent at once.
"""

import math
import threading
import time
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any

import redis
from redis.exceptions import BusyLoadingError, NoScriptError

from models.observability.threads import ROUND_SECONDS, WatchedThread, log_failed_round
from models.redis_client import open_redis
from models.settings import Settings
from models.stream.admission import APPEND, Appended, BacklogFull, OutcomeUnknown, Reply, StreamUnreachable
from models.stream.pending import Append, Group

# Above this share of Redis's memory nothing is accepted: the rest is for the broker's messages, without which the
# backlog is not drained, and for the trim.
MEMORY_SHARE = 0.9
MEMORY_CHECK_SECONDS = 0.25
# For this long a group is sent again after its answer got lost; then its outcome is unknown.
RESEND_SECONDS = 4.0
_PAUSE_SECONDS = 0.1
# Appends that share a round trip: Redis serves no other client meanwhile.
MAX_GROUP = 256


class _NotSent(Exception):
    """No connection: the appends did not leave this process."""


class Appender:
    """Starts its thread and connects at the first append, and so after a fork."""

    def __init__(self, settings: Settings):
        self._shards = settings.stream_shards
        self._bound = settings.shard_max_entries
        self._timeout = settings.redis_timeout_seconds
        self._waiting: SimpleQueue[Append | None] = SimpleQueue()
        self._turn = count(threading.get_native_id())  # each process begins with another shard
        self._start = threading.Lock()
        self._thread: WatchedThread | None = None
        self._clock_offset_ms = math.nan  # Redis's clock minus the monotonic clock of this machine; nan: unknown
        self._memory_checked_at = -MEMORY_CHECK_SECONDS
        self._redis = open_redis(settings.redis_url, timeout_seconds=self._timeout)
        self._script = self._redis.register_script(APPEND)

    def append(self, append: Append) -> Appended:
        """Waits for the outcome. Threads may share this."""
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
                self._thread = WatchedThread("appender", self._run).start()

    def _run(self, thread: WatchedThread) -> None:
        while True:
            thread.complete_round()
            try:
                first = self._waiting.get(timeout=ROUND_SECONDS)
            except Empty:
                continue
            if first is None:
                return
            groups: list[Group] = []
            try:
                groups = self._gather(first)
                self._send_until_answered(groups)
            except Exception as error:  # unexpected: these requests are answered 500, the thread goes on
                _fail(groups, error)
                log_failed_round(thread.name, error)

    def _gather(self, first: Append) -> list[Group]:
        """The waiting appends, by shard. Those without a shard go to one shard together, another one each time."""
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
        any_shard = next(self._turn) % self._shards
        for append in gathered:
            if append.claim():
                shard = any_shard if append.shard is None else append.shard
                (groups.get(shard) or groups.setdefault(shard, Group(shard))).add(append)
        return list(groups.values())

    def _send_until_answered(self, groups: list[Group]) -> None:
        """Finishes every append: accepted, refused, or unknown."""
        give_up_at = time.monotonic() + RESEND_SECONDS
        maybe_accepted = False
        while groups:
            try:
                self._send(groups, is_first=not maybe_accepted)
            except (_NotSent, BacklogFull) as error:
                if not maybe_accepted:
                    _fail(groups, error if isinstance(error, BacklogFull) else StreamUnreachable(str(error)))
                    return
            except (redis.ConnectionError, redis.TimeoutError):
                maybe_accepted = True
            if groups and time.monotonic() >= give_up_at:
                _fail(groups, OutcomeUnknown("the answer of Redis got lost"))
                return
            if groups:
                time.sleep(_PAUSE_SECONDS)

    def _send(self, groups: list[Group], is_first: bool) -> None:
        """One round trip. Answered groups are finished and removed from the list.

        Raises the error that keeps the others from being answered.
        """
        try:
            connection = self._redis.connection_pool.get_connection()
        except redis.RedisError as error:
            raise _NotSent(str(error)) from error
        try:
            if is_first:  # later only the script may refuse: it knows what was accepted before
                self._check_redis(connection)
            self._exchange(connection, groups)
        except (_NotSent, BacklogFull):
            raise
        except BaseException:
            connection.disconnect()  # a late answer must not be read by another group
            raise
        finally:
            self._redis.connection_pool.release(connection)

    def _exchange(self, connection: Any, groups: list[Group]) -> None:
        refused: Exception | None = None
        for is_last in (False, True):
            has_script = True
            for group, reply in self._call_script(connection, groups):
                if isinstance(reply, NoScriptError):
                    has_script = False
                elif isinstance(reply, redis.ResponseError):  # at the script's first write at the latest
                    refused = BacklogFull("Redis is out of memory") if "OOM" in str(reply) else _NotSent(str(reply))
                else:
                    self._clock_offset_ms = reply.now_ms - time.monotonic() * 1000
                    if is_last or not reply.is_late:
                        group.finish(reply)
                        groups.remove(group)
            if refused:
                raise refused
            if not groups:
                return
            # Once more: with the script that Redis had lost, or by the clock that it has just returned.
            if not has_script:
                connection.send_command("SCRIPT", "LOAD", APPEND)
                connection.read_response()
        raise _NotSent("Redis does not keep its scripts")

    def _call_script(self, connection: Any, groups: list[Group]) -> list[tuple[Group, Reply | redis.ResponseError]]:
        # Half of the time for which the answer is awaited: after that the script refuses.
        deadline_ms = int(time.monotonic() * 1000 + self._clock_offset_ms + self._timeout * 500)
        commands = (("EVALSHA", self._script.sha, *group.arguments(deadline_ms, self._bound)) for group in groups)
        connection.send_packed_command(connection.pack_commands(commands))
        return [(group, _read_reply(connection)) for group in groups]

    def _check_redis(self, connection: Any) -> None:
        """Before the first attempt: Redis's clock, once, and its memory, every MEMORY_CHECK_SECONDS."""
        try:
            if math.isnan(self._clock_offset_ms):
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


def _read_reply(connection: Any) -> Reply | redis.ResponseError:
    try:
        return Reply(*connection.read_response())
    except BusyLoadingError as error:
        raise _NotSent("Redis is loading its append-only file") from error
    except redis.ResponseError as error:
        return error


def _refuse_without_memory(info: bytes) -> None:
    values = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    bound = int(values["maxmemory"]) * MEMORY_SHARE
    if 0 < bound < int(values["used_memory"]):
        raise BacklogFull("Redis is nearly out of memory")


def _fail(groups: list[Group], error: Exception) -> None:
    for group in groups:
        group.fail(error)
