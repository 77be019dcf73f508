"""Appends on their way from the threads of the requests to the appender's, and back."""

import threading
import uuid
from dataclasses import dataclass, field

from models.stream.admission import Appended, Conditions, StreamUnreachable, arguments, read_plain


class Append:
    """One request's append on its way. Whoever claims it first decides: the thread that sends it, or its request,
    which has waited too long for that."""

    __slots__ = ("_claim", "_done", "conditions", "error", "payload", "result", "shard")

    def __init__(self, payload: bytes, shard: int | None = None, conditions: Conditions | None = None):
        self.payload, self.shard, self.conditions = payload, shard, conditions
        self.result: Appended | None = None
        self.error: Exception | None = None
        self._claim, self._done = threading.Lock(), threading.Lock()
        self._done.acquire()

    def claim(self) -> bool:
        return self._claim.acquire(blocking=False)

    def finish(self, result: Appended | None = None, error: Exception | None = None) -> None:
        self.result, self.error = result, error
        self._done.release()

    def wait(self, seconds: float) -> Appended:
        """What became of it. Raises why it was not taken; StreamUnreachable where it was not sent in time."""
        if not self._done.acquire(timeout=seconds):
            if self.claim():
                raise StreamUnreachable("Redis is slow, and others wait before this one")
            self._done.acquire()
        if self.error:
            raise self.error
        return self.result


@dataclass
class Group:
    """The appends that go to one shard in one round trip, and the token under which that happens once."""

    shard: int
    plain: list[Append] = field(default_factory=list)
    others: list[Append] = field(default_factory=list)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def arguments(self, deadline_ms: int, bound: int) -> list:
        plain = [append.payload for append in self.plain]
        others = [(append.payload, append.conditions) for append in self.others]
        return arguments(self.shard, self.token, deadline_ms, bound, plain, others)

    @property
    def appends(self) -> list[Append]:
        return [*self.plain, *self.others]

    def finish(self, reply: list) -> None:
        """Gives each append what the script said to it."""
        _, backlog, said = reply
        was_empty = backlog == 0
        for append, verdict in list(zip(self.appends, said, strict=True)):
            read = append.conditions.read if append.conditions else read_plain
            try:
                result = read(verdict, self.shard, was_empty)
            except Exception as error:  # each request's own: refused, or answered with what makes no sense
                append.finish(error=error)
            else:
                was_empty = was_empty and result.replayed  # one bell is enough
                append.finish(result)

    def fail(self, error: Exception) -> None:
        for append in self.appends:
            append.finish(error=error)
