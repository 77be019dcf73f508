"""Devices: threads that submit numbered readings, and try again as devices do."""

import contextlib
import random
import threading
import time
import uuid
from collections.abc import Iterator

import msgspec
import urllib3

from tests.chaos.ledger import Ledger, Outcome, Submission
from tests.chaos.readings import reading

PATHS = {
    "mixed": ["/v1/telemetry", "/v1/telemetry/ingest", "/v1/ingest"],
    "meter": ["/v1/telemetry", "/v1/telemetry/meter", "/ingest/meter"],
    "vehicle": ["/v1/telemetry", "/v1/telemetry/vehicle", "/ingest/vehicle"],
}
TIMEOUT = urllib3.Timeout(connect=2, read=10)
PAUSE_SECONDS = 0.25  # before the next attempt
IDLE_SECONDS = 45  # in which every device has ended what it was at
MAX_BATCH = 500


class Fleet:
    """So many devices, which together submit about `rate` readings a second; batches hold `batch` on average."""

    def __init__(self, url: str, ledger: Ledger, *, seed: int, rate: float, batch: int, devices: int = 8):
        self.ledger = ledger
        self._url = url
        self._rate = rate / devices
        self._batch = batch
        self._running = threading.Event()
        self._over = threading.Event()
        self._hurry = threading.Event()
        self._idle = [threading.Event() for _ in range(devices)]
        self._pool = urllib3.PoolManager(maxsize=devices, retries=False, timeout=TIMEOUT)
        self._threads = [
            threading.Thread(
                target=self._live, args=(random.Random(f"{seed}-{i}"), idle), name=f"device-{i}", daemon=True
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
        self._pool.clear()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, nothing is submitted, and what was has ended: accepted, or given up."""
        self._running.clear()
        try:
            for idle in self._idle:
                assert idle.wait(IDLE_SECONDS), "a device could not end its submission: nothing is accepted any more"
            yield
        finally:
            self._running.set()

    @contextlib.contextmanager
    def hurrying(self) -> Iterator[None]:
        """Inside, the devices submit single readings as fast as they can."""
        self._hurry.set()
        try:
            yield
        finally:
            self._hurry.clear()

    # ── A device ─────────────────────────────────────────────────────────────────────────────────────────────

    def _live(self, rng: random.Random, idle: threading.Event) -> None:
        try:
            self._report(rng, idle)
        except Exception as error:
            self.ledger.unexpected.append(f"a device died of {error!r}")
            raise
        finally:
            idle.set()

    def _report(self, rng: random.Random, idle: threading.Event) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            if not self._running.is_set():
                idle.set()
                self._running.wait()
                idle.clear()
                continue
            submission = self._open(rng)
            self._submit(rng, submission)
            # After an outage a device has something to catch up with, but not all of it.
            due = max(due + submission.count / self._rate, time.monotonic() - 0.5)
            if not self._hurry.is_set():
                self._over.wait(max(0, min(5, due - time.monotonic())))

    def _open(self, rng: random.Random) -> Submission:
        is_single = self._hurry.is_set() or rng.random() < 0.4
        count = 1 if is_single else min(MAX_BATCH, 1 + int(rng.expovariate(1 / self._batch)))
        key = uuid.UUID(int=rng.getrandbits(128)).hex if rng.random() < 0.5 else None
        return self.ledger.open(rng.choice(["meter", "vehicle", "mixed"]), count, key)

    def _submit(self, rng: random.Random, submission: Submission) -> None:
        """Until it is accepted; but without a key every second device gives up where it got no answer."""
        request = _request(rng, submission)
        repeats = 1 if submission.key and rng.random() < 0.1 else 0  # asks once more, for nothing
        while not self._over.is_set():
            outcome = self._attempt(submission, request)
            if outcome is Outcome.ACCEPTED:
                if not repeats:
                    return
                repeats -= 1
                continue
            if outcome is not Outcome.REFUSED and not submission.key and rng.random() < 0.5:
                return
            self._over.wait(PAUSE_SECONDS)

    def _attempt(self, submission: Submission, request: dict) -> Outcome:
        path = request["path"]
        started, answer, told = time.monotonic(), {}, ""
        try:
            response = self._pool.request(
                "POST", self._url + path, body=request["body"], headers=request["headers"], retries=False
            )
        except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError):
            outcome, told = Outcome.REFUSED, "no connection"
        except urllib3.exceptions.HTTPError as error:
            outcome, told = Outcome.UNKNOWN, type(error).__name__
        else:
            outcome, told, answer = _read(response, submission)
        self.ledger.enter(submission, outcome, told, time.monotonic() - started, answer)
        return outcome


def _request(rng: random.Random, submission: Submission) -> dict:
    readings = [reading(submission.kind, submission.at, n) for n in range(submission.first, submission.last + 1)]
    media = "application/json"
    path = rng.choice(PATHS[submission.kind])
    if path == "/v1/telemetry" and rng.random() < 0.4:
        media, body = "application/x-ndjson", b"\n".join(map(msgspec.json.encode, readings))
    else:
        body = msgspec.json.encode(readings[0] if submission.count == 1 else readings)
    headers = {"Content-Type": media} | ({"Idempotency-Key": submission.key} if submission.key else {})
    return {"path": path, "body": body, "headers": headers}


def _read(response: urllib3.BaseHTTPResponse, submission: Submission) -> tuple[Outcome, str, dict]:
    told = str(response.status)
    if response.status in (429, 503):
        return Outcome.REFUSED, told, {}
    if response.status == 504:
        return Outcome.UNKNOWN, told, {}
    answer = response.json() if "json" in response.headers.get("Content-Type", "") else {"body": response.data[:200]}
    if response.status in (200, 201, 202) and (answer["accepted"], answer["rejected"]) == (submission.count, 0):
        return Outcome.ACCEPTED, told, answer | {"replayed": "Idempotent-Replay" in response.headers}
    return Outcome.UNEXPECTED, told, answer
