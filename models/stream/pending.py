"""Hand-over of pending appends between request threads and the appender."""

import threading
import uuid
from dataclasses import dataclass, field
from typing import Any

from models.stream.admission import Appended, Conditions, Reply, StreamUnreachable, arguments, read_plain_outcome


class Append:
    """One request's append. It belongs to the side that claims it first: the appender, which sends it, or its request,
    which has waited too long."""

    __slots__ = ("_claim", "_done", "_outcome", "conditions", "payload", "readings", "shard")

    def __init__(
        self, payload: bytes, shard: int | None = None, conditions: Conditions | None = None, readings: int = 1
    ):
        self.payload, self.shard, self.conditions, self.readings = payload, shard, conditions, readings
        self._outcome: Appended | Exception | None = None
        self._claim, self._done = threading.Lock(), threading.Lock()
        self._done.acquire()

    def claim(self) -> bool:
        return self._claim.acquire(blocking=False)

    def finish(self, outcome: Appended | Exception) -> None:
        self._outcome = outcome
        self._done.release()

    def wait(self, seconds: float) -> Appended:
        """Raises why the append was refused; StreamUnreachable if it was not sent in time."""
        if not self._done.acquire(timeout=seconds):
            if self.claim():
                raise StreamUnreachable("Redis is slow, and other appends wait before this one")
            self._done.acquire()
        if isinstance(self._outcome, Appended):
            return self._outcome
        raise self._outcome or RuntimeError("the append has no outcome")


@dataclass
class Group:
    """The appends to one shard in one round trip, and the token that makes the plain ones happen once."""

    shard: int
    plain: list[Append] = field(default_factory=list)
    conditional: list[Append] = field(default_factory=list)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def add(self, append: Append) -> None:
        (self.conditional if append.conditions else self.plain).append(append)

    def arguments(self, deadline_ms: int, bound: int) -> list[Any]:
        plain = [(append.payload, append.readings) for append in self.plain]
        conditional = [
            (append.payload, append.readings, append.conditions) for append in self.conditional if append.conditions
        ]
        return arguments(self.shard, self.token, deadline_ms, bound, plain, conditional)

    @property
    def appends(self) -> list[Append]:
        return [*self.plain, *self.conditional]

    def finish(self, reply: Reply) -> None:
        """Gives each append its outcome."""
        was_empty = reply.backlog == 0
        pairs = list(zip(self.appends, reply.outcomes, strict=True))  # before any is finished
        for append, outcome in pairs:
            read = append.conditions.read_outcome if append.conditions else read_plain_outcome
            try:
                appended = read(outcome, self.shard, was_empty)
            except Exception as error:  # a refusal, or an outcome that can't be read: this request's own
                append.finish(error)
            else:
                was_empty = was_empty and appended.replayed  # only the first new entry rings
                append.finish(appended)

    def fail(self, error: Exception) -> None:
        for append in self.appends:
            append.finish(error)
