"""A load and its account: what was sent, accepted, refused and stored."""

import time
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import click

from loadtool.api import Api
from loadtool.connection import Answer, Connection, NoAnswer
from loadtool.pacer import Pacer, Pause, Request, Sent
from loadtool.receipts import Receipts
from loadtool.terminal import print_table, progress

SNAPSHOT_SECONDS = 0.05  # between two snapshots while it sends
STORED_SECONDS = 0.25  # between two while it waits for the readings to be stored
RETRY_SECONDS = 1.0  # after a broken connection


class Sending:
    """Counts readings: sent = accepted + refused. `refusal` is the latest reason."""

    def __init__(self, api: Api, clients: int):
        self.api, self.clients = api, clients
        self.receipts = Receipts(api)
        self.sent = self.accepted = self.refused = 0
        self.refusal = ""
        self.seconds = 0.0
        self._until = 0.0
        self._last_answer_at = time.monotonic()
        self._latencies = array("d")  # seconds from when a request was due until its answer

    def run(
        self,
        requests: Iterator[Request],
        total: float,
        done: Callable[[], float],
        *,
        rate: float | None = None,  # requests a second
        seconds: float | None = None,
    ) -> None:
        """Sends the requests and shows the progress: `done()` of `total`. Ctrl-C ends it early, after the answers.

        With `seconds`, a connection whose request was refused pauses for the answer's Retry-After.
        """
        started = time.monotonic()
        self._until = started + seconds if seconds else 0
        connections = [Connection(self.api.server) for _ in range(self.clients)]
        pacer = Pacer(connections, requests, self._enter, rate=rate, seconds=seconds)
        with ThreadPoolExecutor(1) as thread, progress("sending", total) as show:
            running = thread.submit(pacer.run)
            try:
                while not running.done():
                    time.sleep(SNAPSHOT_SECONDS)
                    self._show(show, min(total, done()))
            except KeyboardInterrupt:
                pass
            finally:
                pacer.stop()
            try:
                running.result()
            except NoAnswer as error:
                raise click.ClickException(f"The API stopped answering: {error}") from None
            self.seconds = self._last_answer_at - started
            self._show(show, total)

    def wait_until_stored(self, seconds: float) -> None:
        """Waits until every accepted reading is stored, or the time is over."""
        give_up_at = time.monotonic() + seconds
        self.receipts.refresh()
        with progress("storing", self.accepted) as show:
            while self.receipts.pending and time.monotonic() < give_up_at:
                show(self.receipts.stored, f"stored {self.receipts.stored:,} of {self.accepted:,}")
                time.sleep(STORED_SECONDS)
                self.receipts.refresh()
            show(self.receipts.stored, f"stored {self.receipts.stored:,} of {self.accepted:,}")

    def conclude(self) -> None:
        """Prints the summary; ends the command with an error if a reading was refused or is not stored."""
        headers = ["sent", "accepted", "refused", "stored", "readings/s", "p50, ms", "p99, ms"]
        rate = self.accepted / self.seconds if self.seconds else 0
        counts = [self.sent, self.accepted, self.refused, self.receipts.stored, round(rate)]
        row = [*(f"{count:,}" for count in counts), self._latency_ms(0.50), self._latency_ms(0.99)]
        print_table(headers, [row], numbers=headers)
        wrong = []
        if self.refused:
            wrong.append(f"{self.refused:,} readings were refused: {self.refusal}")
        if self.receipts.dead_letters:
            wrong.append(f"{self.receipts.dead_letters:,} became dead letters; see `energy dead-letters list`")
        if pending := self.receipts.pending:
            wrong.append(f"{pending:,} accepted readings are not stored yet; is a worker running?")
        if wrong:
            raise click.ClickException("\n       ".join(wrong))

    def _show(self, show: Callable, done: float) -> None:
        self.receipts.refresh()
        lag = self.api.lag_seconds()
        show(
            done,
            f"sent {self.sent:,}  accepted {self.accepted:,}  refused {self.refused:,}"
            f"  stored {self.receipts.stored:,}  lag {'–' if lag is None else f'{lag:.1f} s'}",
        )

    def _enter(self, sent: Sent, answer: Answer | NoAnswer) -> Pause | None:
        """Called by the pacer, in its thread."""
        readings, accepted, pause = sent.request.readings, 0, 0.0
        self._last_answer_at = time.monotonic()
        if isinstance(answer, NoAnswer):
            self.refusal, pause = f"no answer ({answer})", RETRY_SECONDS
        else:
            self._latencies.append(self._last_answer_at - sent.due)
            if answer.is_success:
                body = answer.body
                accepted = body["accepted"]
                self.receipts.add(body["receipt"], accepted)
            else:
                pause = answer.retry_after
            if accepted < readings:
                self.refusal = answer.summary
        self.sent += readings
        self.accepted += accepted
        self.refused += readings - accepted
        pause = min(pause, self._until - self._last_answer_at)
        return Pause(pause) if pause > 0 else None

    def _latency_ms(self, share: float) -> str | None:
        ordered = sorted(self._latencies)
        return f"{ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000:.1f}" if ordered else None
