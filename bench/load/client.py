"""`python -m bench.load.client PLAN`: the load tool's pacer in a process of its own; PLAN and its output are JSON."""

import json
import random
import signal
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain

from bench import fleet
from loadtool.connection import Answer, Connection, NoAnswer, Server
from loadtool.pacer import Pacer, Pause, Request, Sent

ANSWER_SECONDS = 30.0
BUSY_PAUSE_SECONDS = 0.2
NDJSON_GZIP = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}


@dataclass(frozen=True)
class Plan:
    """What to send, where and how often. Ends after `seconds`, after `count` requests or with SIGTERM."""

    port: int
    key: str
    source: str  # singles, minutes, pool, get
    connections: int
    path: str = "/v1/telemetry"
    start: str = ""  # minutes: the first one, ISO-8601
    size: int = 0  # minutes: readings a request
    first: int = 0  # minutes: the number of the first body
    step: int = 1  # minutes: the number of clients that share the bodies in turn
    file: str = ""  # pool
    choices: int = 0  # get: the path's number is below
    rate: float | None = None  # requests a second
    seconds: float | None = None
    count: int | None = None
    until_accepted: bool = False  # repeats a request that is answered 503
    keep_receipts: bool = False


@dataclass
class Report:
    """The result. Times in milliseconds: `answers` from when a request was due, `late` until it was sent."""

    requests: int = 0
    seconds: float = 0.0
    statuses: Counter = field(default_factory=Counter)
    broken: int = 0  # requests without an answer
    answers: array = field(default_factory=lambda: array("d"))
    late: array = field(default_factory=lambda: array("d"))
    receipts: list[tuple[float, str]] = field(default_factory=list)  # time.time() of the answer, receipt

    @property
    def good(self) -> int:
        return sum(count for status, count in self.statuses.items() if str(status).startswith("2"))

    def as_json(self) -> str:
        plain = {"statuses": dict(self.statuses), "answers": list(self.answers), "late": list(self.late)}
        return json.dumps(vars(self) | plain)


def requests_of(plan: Plan) -> Iterator[Request]:
    """Endless."""
    server = Server(f"http://127.0.0.1:{plan.port}", plan.key)
    if plan.source == "get":
        while True:
            yield Request(server.get(plan.path % random.randrange(plan.choices)))
    headers = NDJSON_GZIP if plan.source == "pool" else None
    for body in _bodies(plan):
        yield Request(server.post(plan.path, body, headers))


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


class Client:
    """Carries out a plan."""

    def __init__(self, plan: Plan):
        self.plan, self.report = plan, Report()
        server = Server(f"http://127.0.0.1:{plan.port}", plan.key)
        requests = requests_of(plan)
        self.pacer = Pacer(
            [Connection(server, answer_seconds=ANSWER_SECONDS) for _ in range(plan.connections)],
            chain([next(requests)], requests),  # the preparation of the first is not on the clock
            self._enter,
            rate=plan.rate,
            seconds=plan.seconds,
            count=plan.count,
        )

    def run(self) -> Report:
        started = time.monotonic()
        self.pacer.run()
        self.report.requests = self.pacer.sent
        self.report.seconds = time.monotonic() - started
        return self.report

    def _enter(self, sent: Sent, answer: Answer | NoAnswer) -> Pause | None:
        report, now = self.report, time.monotonic()
        if isinstance(answer, NoAnswer):
            report.broken += 1
            return None
        report.statuses[answer.status] += 1
        if answer.status == 503 and self.plan.until_accepted:
            return Pause(BUSY_PAUSE_SECONDS, is_repeated=True)
        report.answers.append((now - sent.due) * 1000)
        report.late.append((sent.at - sent.due) * 1000)
        if self.plan.keep_receipts and answer.is_success:
            report.receipts.append((time.time(), answer.body["receipt"]))
        return None


if __name__ == "__main__":
    client = Client(Plan(**json.loads(sys.argv[1])))
    signal.signal(signal.SIGTERM, lambda *_: client.pacer.stop())
    print(client.run().as_json())
