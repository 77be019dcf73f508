"""Threads that must live: no error ends one, and each shows when it last completed a round.

A thread that ends by itself, or hangs, shows as an age that grows: in the metric, in readiness and in doctor.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from prometheus_client import Gauge

log = structlog.get_logger()

KEYS = "keys"  # the thread that reads the API keys
# A thread completes a round at least this often, even if it has nothing to do.
ROUND_SECONDS = 5.0
_SHOWN_EVERY_SECONDS = 1.0
_PAUSE_SECONDS = 1.0

LAST_ROUND = Gauge(
    "energy_thread_round_timestamp_seconds",
    "Unix time of the last completed round of a thread that must live, the oldest of the live processes",
    ["thread"],
    multiprocess_mode="livemin",
)


class WatchedThread:
    """Runs `run(self)` in a thread, which calls `complete_round` at least every ROUND_SECONDS.

    It is watched from its start until `run` returns. If `run` raises, the error is logged and `run` is called again.
    """

    def __init__(self, name: str, run: Callable[["WatchedThread"], None]):
        self.name, self._run = name, run
        self._completed_at = time.monotonic()
        self._shown = LAST_ROUND.labels(name)
        self._shown.set_to_current_time()
        self._shown_at = self._completed_at
        self._thread = threading.Thread(target=self._watch, name=name, daemon=True)

    def start(self) -> "WatchedThread":
        _watched.add(self)
        self._thread.start()
        return self

    def join(self) -> None:
        self._thread.join()

    def complete_round(self) -> None:
        self._completed_at = now = time.monotonic()
        if now - self._shown_at >= _SHOWN_EVERY_SECONDS:
            self._shown.set_to_current_time()
            self._shown_at = now

    @property
    def age(self) -> float:
        """Seconds since the last completed round, or since the start."""
        return time.monotonic() - self._completed_at

    def _watch(self) -> None:
        failure = ""
        while True:
            try:
                self._run(self)
            except Exception as error:
                failure = log_failed_round(self.name, error, failure)
                time.sleep(_PAUSE_SECONDS)
            else:
                _watched.discard(self)
                return


_watched: set[WatchedThread] = set()
os.register_at_fork(after_in_child=_watched.clear)  # a fork has none of its parent's threads


def start_rounds(
    name: str, do_round: Callable[[], bool | None], *, seconds: float, until: Callable[[], bool]
) -> WatchedThread:
    """Starts a thread that calls `do_round` every `seconds`, until `until` is true.

    An exception is logged, and the thread goes on. A round that raises or returns False was not completed.
    """

    def run(thread: WatchedThread) -> None:
        failure = ""
        while not until():
            try:
                if do_round() is not False:
                    thread.complete_round()
                failure = ""
            except Exception as error:
                failure = log_failed_round(name, error, failure)
            time.sleep(seconds)

    return WatchedThread(name, run).start()


def log_failed_round(name: str, error: Exception, before: str = "") -> str:
    """Logs the error, with its traceback unless the failure `before` was the same one; returns the failure."""
    failure = f"{type(error).__name__}: {str(error).strip()}"
    log.error("thread_round_failed", thread=name, reason=failure, exc_info=error if failure != before else None)
    return failure


def list_thread_ages() -> dict[str, float]:
    """Seconds since the last completed round of each watched thread of this process, by name; the oldest of a name."""
    ages: dict[str, float] = {}
    for thread in list(_watched):
        ages[thread.name] = max(thread.age, ages.get(thread.name, 0.0))
    return ages


def log_uncaught_errors() -> None:
    """Has an exception that ends a thread logged as an event, instead of printed to stderr."""
    threading.excepthook = _log_uncaught


def _log_uncaught(arguments: Any) -> None:
    if arguments.exc_type is SystemExit:  # ends a thread silently, as in Python itself
        return
    name = arguments.thread.name if arguments.thread else ""
    exc_info = (arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
    log.error("thread_ended", thread=name, error=arguments.exc_type.__name__, exc_info=exc_info)
