"""`python -m bench.load.client PLAN`: a client in a process of its own; PLAN and what it prints are JSON.

With a `rate`, requests are sent when they are due, whether or not earlier ones were answered, and each answer's
time counts from when its request was due: a server that stands still for a second can't hide that by keeping the
client from asking. Without one, each connection asks again as soon as it is answered.
"""

import json
import random
import re
import select
import signal
import socket
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain

from bench import fleet

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_RECEIPT = re.compile(rb'"receipt": *"([^"]+)"')
PATIENCE_SECONDS = 30.0  # for the answers that are still out at the end
BUSY_PAUSE_SECONDS = 0.2


@dataclass(frozen=True)
class Plan:
    """What to send, where, how often. Ends after `seconds` or `count` requests, or with SIGTERM."""

    port: int
    key: str
    source: str  # singles, minutes, pool, get
    connections: int
    path: str = "/v1/telemetry"
    start: str = ""  # minutes: the first one, ISO-8601
    size: int = 0  # minutes: readings a request
    first: int = 0  # minutes: the number of the first body
    step: int = 1  # minutes: senders that share the work take each so many-th body
    file: str = ""  # pool
    choices: int = 0  # get: the path's number is below
    rate: float | None = None  # requests a second
    seconds: float | None = None
    count: int | None = None
    until_taken: bool = False  # asks again where the answer is 503
    keep_receipts: bool = False


@dataclass
class Report:
    """What came of it. Times in milliseconds; `late` is how long after it was due a request was sent."""

    requests: int = 0
    seconds: float = 0.0
    statuses: Counter = field(default_factory=Counter)
    broken: int = 0
    answers: array = field(default_factory=lambda: array("d"))
    late: array = field(default_factory=lambda: array("d"))
    receipts: list[tuple[float, str]] = field(default_factory=list)  # when the answer was there (seconds), which
    cpu_seconds: float = 0.0

    @property
    def good(self) -> int:
        return sum(count for status, count in self.statuses.items() if str(status).startswith("2"))

    def as_json(self) -> str:
        plain = {"statuses": dict(self.statuses), "answers": list(self.answers), "late": list(self.late)}
        return json.dumps(vars(self) | plain)


def sending(plan: Plan) -> Iterator[bytes]:
    """Whole requests, for ever."""
    kind = {"minutes": "application/json", "singles": "application/json", "pool": "application/x-ndjson"}
    head = f"Host: 127.0.0.1:{plan.port}\r\nAuthorization: Bearer {plan.key}\r\n"
    if plan.source == "get":
        while True:
            yield f"GET {plan.path % random.randrange(plan.choices)} HTTP/1.1\r\n{head}\r\n".encode()
    head = f"POST {plan.path} HTTP/1.1\r\n{head}Content-Type: {kind[plan.source]}\r\n"
    if plan.source == "pool":
        head += "Content-Encoding: gzip\r\n"
    for body in _bodies(plan):
        yield f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _bodies(plan: Plan) -> Iterator[bytes]:
    if plan.source == "singles":
        yield from fleet.singles()
    elif plan.source == "minutes":
        minutes = fleet.Minutes(datetime.fromisoformat(plan.start).astimezone(UTC), plan.size)
        number = plan.first
        while True:
            yield minutes.body(number)
            number += plan.step
    else:
        with open(plan.file, "rb") as file:
            pool = [file.read(int(length)) for length in iter(file.readline, b"")]
        while True:
            yield from pool


class Connection:
    """One keep-alive connection with at most one request out."""

    def __init__(self, port: int):
        self.port = port
        self.request, self.due, self._received = b"", 0.0, b""
        self._connect()

    def _connect(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, request: bytes, due: float) -> None:
        self.request, self.due = request, due
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """The whole answer, once it is there. Raises OSError where the connection broke; then it is a new one."""
        part = self.socket.recv(262_144)
        if not part:
            self.reconnect()
            raise ConnectionResetError("closed without an answer")
        self._received += part
        end = self._received.find(b"\r\n\r\n")
        length = _LENGTH.search(self._received, 0, end) if end >= 0 else None
        if length is None or len(self._received) < end + 4 + int(length[1]):
            return None
        answer, self._received = self._received, b""
        return answer

    def reconnect(self) -> None:
        self._received = b""
        self.socket.close()
        self._connect()


class Client:
    """Carries out a plan."""

    def __init__(self, plan: Plan):
        self.plan, self.report = plan, Report()
        requests = sending(plan)
        self._requests = chain([next(requests)], requests)  # what it prepares is not on the clock
        self._over = False

    def run(self) -> Report:
        signal.signal(signal.SIGTERM, self._stop)
        free = [Connection(self.plan.port) for _ in range(self.plan.connections)]
        busy: set[Connection] = set()
        started = time.perf_counter()
        give_up_at = None
        while True:
            now = time.perf_counter()
            self._over = self._over or self._is_done(now - started)
            while free and not self._over and (due := self._due(started, now)) is not None:
                self._send(connection := free.pop(), due)
                busy.add(connection)
                self._over = self._is_done(0)
                now = time.perf_counter()
            if self._over and not busy:
                break
            if self._over and now > (give_up_at := give_up_at or now + PATIENCE_SECONDS):
                self.report.broken += len(busy)
                break
            for connection in select.select(busy, (), (), self._wait(started, bool(free)))[0]:
                if self._take(connection):
                    busy.discard(connection)
                    free.append(connection)
        self.report.seconds = time.perf_counter() - started
        self.report.cpu_seconds = time.process_time()
        return self.report

    def _stop(self, *_: object) -> None:
        self._over = True

    def _is_done(self, seconds: float) -> bool:
        plan = self.plan
        enough = plan.count is not None and self.report.requests >= plan.count
        return enough or (plan.seconds is not None and seconds >= plan.seconds)

    def _due(self, started: float, now: float) -> float | None:
        """When the next request is due, if it is."""
        if self.plan.rate is None:
            return now
        due = started + self.report.requests / self.plan.rate
        return due if due <= now else None

    def _wait(self, started: float, is_free: bool) -> float:
        if self.plan.rate is None or self._over or not is_free:
            return 0.2
        return max(0.0, started + self.report.requests / self.plan.rate - time.perf_counter())

    def _send(self, connection: Connection, due: float) -> None:
        self.report.requests += 1
        request = next(self._requests)
        self.report.late.append((time.perf_counter() - due) * 1000)
        try:
            connection.send(request, due)
        except OSError:
            self.report.broken += 1
            connection.reconnect()
            connection.send(request, due)

    def _take(self, connection: Connection) -> bool:
        """Whether the connection is free again."""
        try:
            answer = connection.receive()
        except OSError:
            self.report.broken += 1
            return True
        if answer is None:
            return False
        status = int(answer[9:12])
        self.report.statuses[status] += 1
        if status == 503 and self.plan.until_taken:
            time.sleep(BUSY_PAUSE_SECONDS)
            connection.send(connection.request, connection.due)
            return False
        self.report.answers.append((time.perf_counter() - connection.due) * 1000)
        if self.plan.keep_receipts and (receipt := _RECEIPT.search(answer)):
            self.report.receipts.append((time.time(), receipt[1].decode()))
        return True


if __name__ == "__main__":
    print(Client(Plan(**json.loads(sys.argv[1]))).run().as_json())
