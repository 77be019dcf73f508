"""Devices: threads that submit numbered readings, and repeat requests as devices do."""

import contextlib
import random
import threading
import time
import uuid
from collections.abc import Iterator

import msgspec

from loadtool.connection import Answer, Connection, NoAnswer, NotConnected, Server
from tests.chaos.ledger import Ledger, Outcome, Submission
from tests.chaos.readings import reading

PATHS = {
    "mixed": ["/v1/telemetry", "/v1/telemetry/ingest", "/v1/ingest"],
    "meter": ["/v1/telemetry", "/v1/telemetry/meter", "/ingest/meter"],
    "vehicle": ["/v1/telemetry", "/v1/telemetry/vehicle", "/ingest/vehicle"],
}
CONNECT_SECONDS, ANSWER_SECONDS = 2, 10
PAUSE_SECONDS = 0.25  # before the next attempt
IDLE_SECONDS = 45  # within which every device ends its submission
MAX_BATCH = 500


class Fleet:
    """Devices that together submit about `rate` readings a second, in batches of `batch` on average."""

    def __init__(self, url: str, ledger: Ledger, *, seed: int, rate: float, batch: int, devices: int = 8):
        self.ledger = ledger
        self._server = Server(url)
        self._rate = rate / devices
        self._batch = batch
        self._running = threading.Event()
        self._over = threading.Event()
        self._hurry = threading.Event()
        self._idle = [threading.Event() for _ in range(devices)]
        self._threads = [
            threading.Thread(
                target=self._run, args=(random.Random(f"{seed}-{i}"), idle), name=f"device-{i}", daemon=True
            )
            for i, idle in enumerate(self._idle)
        ]

    def __enter__(self) -> "Fleet":
        for thread in self._threads:
            thread.start()
        self._running.set()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._running.set()
        for thread in self._threads:
            thread.join(IDLE_SECONDS)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Within the block nothing is submitted, and earlier submissions have ended: accepted or given up."""
        self._running.clear()
        try:
            for idle in self._idle:
                assert idle.wait(IDLE_SECONDS), "a device could not end its submission: the stack accepts nothing"
            yield
        finally:
            self._running.set()

    @contextlib.contextmanager
    def hurrying(self) -> Iterator[None]:
        """Within the block the devices submit single readings as fast as they can."""
        self._hurry.set()
        try:
            yield
        finally:
            self._hurry.clear()

    # ── A device ─────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self, rng: random.Random, idle: threading.Event) -> None:
        try:
            self._report(rng, idle)
        except Exception as error:
            self.ledger.unexpected.append(f"a device failed: {error!r}")
            raise
        finally:
            idle.set()

    def _report(self, rng: random.Random, idle: threading.Event) -> None:
        connection = Connection(self._server, connect_seconds=CONNECT_SECONDS, answer_seconds=ANSWER_SECONDS)
        due = time.monotonic()
        while not self._over.is_set():
            if not self._running.is_set():
                idle.set()
                self._running.wait()
                idle.clear()
                continue
            submission = self._open(rng)
            self._submit(rng, submission, connection)
            # After an outage a device catches up with half a second at most.
            due = max(due + submission.count / self._rate, time.monotonic() - 0.5)
            if not self._hurry.is_set():
                self._over.wait(max(0, min(5, due - time.monotonic())))

    def _open(self, rng: random.Random) -> Submission:
        is_single = self._hurry.is_set() or rng.random() < 0.4
        count = 1 if is_single else min(MAX_BATCH, 1 + int(rng.expovariate(1 / self._batch)))
        key = uuid.UUID(int=rng.getrandbits(128)).hex if rng.random() < 0.5 else None
        return self.ledger.open(rng.choice(["meter", "vehicle", "mixed"]), count, key)

    def _submit(self, rng: random.Random, submission: Submission, connection: Connection) -> None:
        """Repeats it until it is accepted. Without a key, half of the devices give up if there is no answer."""
        request = self._request(rng, submission)
        repeats = 1 if submission.key and rng.random() < 0.1 else 0  # after it was accepted
        while not self._over.is_set():
            outcome = self._attempt(submission, request, connection)
            if outcome is Outcome.ACCEPTED:
                if not repeats:
                    return
                repeats -= 1
                continue
            if outcome is not Outcome.REFUSED and not submission.key and rng.random() < 0.5:
                return
            self._over.wait(PAUSE_SECONDS)

    def _request(self, rng: random.Random, submission: Submission) -> bytes:
        readings = [reading(submission.kind, submission.at, n) for n in range(submission.first, submission.last + 1)]
        headers = {"Idempotency-Key": submission.key} if submission.key else {}
        path = rng.choice(PATHS[submission.kind])
        if path == "/v1/telemetry" and rng.random() < 0.4:
            headers["Content-Type"], body = "application/x-ndjson", b"\n".join(map(msgspec.json.encode, readings))
        else:
            body = msgspec.json.encode(readings[0] if submission.count == 1 else readings)
        return self._server.post(path, body, headers)

    def _attempt(self, submission: Submission, request: bytes, connection: Connection) -> Outcome:
        started, body = time.monotonic(), {}
        try:
            answer = connection.request(request)
        except NotConnected:
            outcome, seen = Outcome.REFUSED, "no connection"
        except NoAnswer as error:
            outcome, seen = Outcome.UNKNOWN, str(error)
        else:
            (outcome, body), seen = _judge(answer, submission), str(answer.status)
        self.ledger.record(submission, outcome, seen, time.monotonic() - started, body)
        return outcome


def _judge(answer: Answer, submission: Submission) -> tuple[Outcome, dict]:
    """The outcome, with the body if it was accepted or unexpected."""
    if answer.status in (429, 503):
        return Outcome.REFUSED, {}
    if answer.status == 504:
        return Outcome.UNKNOWN, {}
    body = answer.body if isinstance(answer.body, dict) else {"body": answer.content[:200]}
    if answer.is_success and (body["accepted"], body["rejected"]) == (submission.count, 0):
        return Outcome.ACCEPTED, body | {"replayed": answer.header("Idempotent-Replay") is not None}
    return Outcome.UNEXPECTED, body
