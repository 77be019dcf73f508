"""Sends requests over many connections, each when it is due."""

import select
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from loadtool.connection import Answer, Connection, NoAnswer

CHECK_SECONDS = 0.2  # the longest wait before it notices `stop()`


class Request(NamedTuple):
    data: bytes
    readings: int = 1


class Sent(NamedTuple):
    request: Request
    due: float  # time.monotonic()
    at: float  # time.monotonic(); later than `due` if no connection was free


class Pause(NamedTuple):
    """Of one connection, after an answer."""

    seconds: float
    is_repeated: bool = False  # the same request is sent again afterwards


OnAnswer = Callable[[Sent, Answer | NoAnswer], Pause | None]


class Pacer:
    """Sends the requests and passes each answer, or its absence, to `on_answer`.

    With a rate, request n is due n / rate seconds after the start, whether or not earlier ones are answered: so a
    stalling server does not delay the load that measures it. Without one, a request is due as soon as a connection is
    free. Ends with the requests, after `seconds`, after `count` requests or by `stop()`, once all are answered.
    """

    def __init__(
        self,
        connections: list[Connection],
        requests: Iterator[Request],
        on_answer: OnAnswer,
        *,
        rate: float | None = None,  # requests a second
        seconds: float | None = None,
        count: int | None = None,
    ):
        self.sent = 0  # requests
        self._requests, self._on_answer = requests, on_answer
        self._rate, self._seconds, self._count = rate, seconds, count
        self._free = connections
        self._busy: dict[Connection, Sent] = {}
        self._paused: list[tuple[float, Connection, Sent | None]] = []  # until when, and the request to repeat
        self._is_over = False

    def run(self) -> None:
        """Raises NotConnected if the server can't be reached at the start."""
        for connection in self._free:
            connection.open()
        self._started = time.monotonic()
        while True:
            self._resume()
            self._send_due()
            if self._is_over and not self._busy and not any(sent for _, _, sent in self._paused):
                break
            for connection in select.select(self._busy, (), (), self._wait())[0]:
                self._receive(connection)
        for connection in self._free:
            connection.close()

    def stop(self) -> None:
        """Sends nothing new from now on. For any thread or signal handler."""
        self._is_over = True

    def _send_due(self) -> None:
        while self._free and not self._is_over:
            now = time.monotonic()
            if self._seconds is not None and now - self._started >= self._seconds:
                self._is_over = True
            elif (due := self._due(now)) > now:
                return
            elif self.sent == self._count or (request := next(self._requests, None)) is None:
                self._is_over = True
            else:
                self.sent += 1
                self._send(self._free.pop(), Sent(request, due, now))

    def _due(self, now: float) -> float:
        return self._started + self.sent / self._rate if self._rate else now

    def _wait(self) -> float:
        """Seconds until there may be something to send."""
        wait = CHECK_SECONDS
        if self._free and not self._is_over:
            wait = min(wait, self._due(time.monotonic()) - time.monotonic())
        if self._paused:
            wait = min(wait, min(until for until, _, _ in self._paused) - time.monotonic())
        return max(0.0, wait)

    def _send(self, connection: Connection, sent: Sent) -> None:
        try:
            connection.send(sent.request.data)
        except NoAnswer as error:
            self._conclude(connection, sent, error)
        else:
            self._busy[connection] = sent

    def _receive(self, connection: Connection) -> None:
        try:
            answer: Answer | NoAnswer | None = connection.receive()
        except NoAnswer as error:
            answer = error
        if answer is not None:
            self._conclude(connection, self._busy.pop(connection), answer)

    def _conclude(self, connection: Connection, sent: Sent, answer: Answer | NoAnswer) -> None:
        if pause := self._on_answer(sent, answer):
            again = sent if pause.is_repeated else None
            self._paused.append((time.monotonic() + pause.seconds, connection, again))
        else:
            self._free.append(connection)

    def _resume(self) -> None:
        if not self._paused:
            return
        now, waiting = time.monotonic(), self._paused
        self._paused = [paused for paused in waiting if paused[0] > now]
        for until, connection, again in waiting:
            if until <= now and again:
                self._send(connection, again)
            elif until <= now:
                self._free.append(connection)
