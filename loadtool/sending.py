"""Many clients that post readings at the same time, and what came of it."""

import time
from array import array
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock
from typing import NamedTuple

import click

from loadtool.api import Api, Unreachable
from loadtool.receipts import Receipts
from loadtool.terminal import print_table, progress

LOOK_SECONDS = 0.25  # between two looks at what is stored


class Batch(NamedTuple):
    """The readings of one request: made when it is due, so that they bear the time at which they are sent."""

    due: float  # time.monotonic(); 0: at once
    readings: Callable[[], list[dict]]


class Sending:
    """Readings are counted: sent = accepted + refused, each refused one for the reason last seen."""

    def __init__(self, api: Api, clients: int):
        self.api, self.clients = api, clients
        self.receipts = Receipts(api)
        self.sent = self.accepted = self.refused = 0
        self.refusal = ""
        self.seconds = 0.0
        self._until = 0.0
        self._last_answer_at = time.monotonic()
        self._latencies = array("d")  # seconds, of answered requests
        self._lock = Lock()
        self._stop = Event()

    def run(self, batches: Iterable[Batch], total: float, done: Callable[[], float], until: float = 0) -> None:
        """Sends the batches and shows how far it is: `done()` of `total`. Ctrl-C ends it early, not in pieces.

        `until` (time.monotonic()) is how long a client that was told to come back later does as it was told.
        """
        source, started = iter(batches), time.monotonic()
        self._until = until
        with ThreadPoolExecutor(self.clients) as pool, progress("sending", total) as show:
            working = [pool.submit(self._send_from, source) for _ in range(self.clients)]
            try:
                while not all(client.done() for client in working):
                    time.sleep(LOOK_SECONDS / 5)
                    self._take_snapshot(show, min(total, done()))
            except KeyboardInterrupt:
                self._stop.set()
            for client in working:
                client.result()
            self.seconds = self._last_answer_at - started
            self._take_snapshot(show, total)

    def wait_until_stored(self, seconds: float) -> None:
        """Waits until every accepted reading is stored, or the time is over."""
        give_up_at = time.monotonic() + seconds
        self.receipts.settle()
        with progress("storing", self.accepted) as show:
            while self.receipts.outstanding and time.monotonic() < give_up_at:
                show(self.receipts.stored, f"stored {self.receipts.stored:,} of {self.accepted:,}")
                time.sleep(LOOK_SECONDS)
                self.receipts.settle()
            show(self.receipts.stored, f"stored {self.receipts.stored:,} of {self.accepted:,}")

    def conclude(self) -> None:
        """Prints the summary; ends the command with an error where a reading was refused or is not stored."""
        headers = ["sent", "accepted", "refused", "stored", "readings/s", "p50, ms", "p99, ms"]
        rate = self.accepted / self.seconds if self.seconds else 0
        row = [self.sent, self.accepted, self.refused, self.receipts.stored, round(rate)]
        row = [f"{n:,}" for n in row] + [self._latency(0.50), self._latency(0.99)]
        print_table(headers, [row], numbers=headers)
        wrong = []
        if self.refused:
            wrong.append(f"{self.refused:,} readings were refused: {self.refusal}")
        if self.receipts.dead_letters:
            wrong.append(f"{self.receipts.dead_letters:,} became dead letters; see `energy dead-letters list`")
        if outstanding := self.receipts.outstanding:
            wrong.append(f"{outstanding:,} accepted readings are not stored yet; is a worker running?")
        if wrong:
            raise click.ClickException("\n       ".join(wrong))

    def _take_snapshot(self, show: Callable, done: float) -> None:
        self.receipts.settle()
        lag = self.api.lag_seconds()
        show(
            done,
            f"sent {self.sent:,}  accepted {self.accepted:,}  refused {self.refused:,}"
            f"  stored {self.receipts.stored:,}  lag {'–' if lag is None else f'{lag:.1f} s'}",
        )

    def _send_from(self, source: Iterable[Batch]) -> None:
        while not self._stop.is_set():
            with self._lock:
                batch = next(source, None)
            if batch is None:
                return
            if batch.due and self._stop.wait(max(0, batch.due - time.monotonic())):
                return
            self._send(batch.readings())

    def _send(self, readings: list[dict]) -> None:
        started = time.perf_counter()
        accepted, pause, latency = 0, 0.0, None
        try:
            answer = self.api.post("/v1/telemetry", readings[0] if len(readings) == 1 else readings)
            latency = time.perf_counter() - started
            if answer.is_success:
                accepted = answer.body["accepted"]
                self.receipts.add(answer.body["receipt"], accepted)
            else:
                pause = answer.retry_after
            reason = answer.words
        except Unreachable as error:
            reason, pause = f"no answer ({error})", 1.0
        with self._lock:
            self._last_answer_at = time.monotonic()
            self.sent += len(readings)
            self.accepted += accepted
            if accepted < len(readings):
                self.refused += len(readings) - accepted
                self.refusal = reason
            if latency is not None:
                self._latencies.append(latency)
        self._stop.wait(max(0, min(pause, self._until - time.monotonic())))

    def _latency(self, share: float) -> str | None:
        ordered = sorted(self._latencies)
        return f"{ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000:.1f}" if ordered else None
