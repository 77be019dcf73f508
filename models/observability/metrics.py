"""What every process may count, whatever its role: the batch writer runs in workers and, with the fallback, in the web.

Each process keeps its own figures; models/observability/exposition.py makes one page of those of a role. Labels have
few values, all known here or at the place of counting: a device, a key or a message is never one. docs/operations.md
explains each figure.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics
from psycopg_pool import ConnectionPool

disable_created_metrics()  # a series more for each counter, which nobody reads

POOL_LOOK_SECONDS = 1.0

STEPS = ("lock", "reconcile", "read", "decode", "copy", "mark", "live", "dead_letters", "position", "commit", "trim")

READINGS_STORED = Counter("energy_readings_stored_total", "Readings committed to history", ["kind"])
LIVE_UPSERTS = Counter("energy_live_upserts_total", "Live rows brought up to date, one a device and batch")
DEAD_LETTERS = Counter("energy_dead_letters_total", "Readings and entries committed to the dead letters")
BATCH_READINGS = Histogram(
    "energy_batch_readings",
    "Readings in a committed batch, dead letters among them",
    buckets=(1, 10, 100, 500, 1_000, 5_000, 10_000, 20_000, 50_000, 100_000),
)
STEP_SECONDS = Histogram(
    "energy_drain_step_seconds",
    "Time that a step of a batch took, in seconds",
    ["step"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
STREAM_DIVERGENCES = Counter(
    "energy_stream_went_back_total", "Times that a stream was found not to belong to its position"
)

# Of the processes that live, together.
POOL_MAX_SIZE = Gauge("energy_pool_max_size", "Connections the pools may open", multiprocess_mode="livesum")
POOL_SIZE = Gauge("energy_pool_size", "Connections the pools hold open", multiprocess_mode="livesum")
POOL_AVAILABLE = Gauge("energy_pool_available", "Open connections that nobody uses", multiprocess_mode="livesum")
POOL_WAITING = Gauge("energy_pool_waiting", "Threads that wait for a connection", multiprocess_mode="livesum")


def make_series(metric: Counter | Histogram, *labels: str) -> None:
    """Shows the series at 0 from the start: without that its first increase is none to Prometheus."""
    for label in labels:
        metric.labels(label)


make_series(READINGS_STORED, "meter", "vehicle")
make_series(STEP_SECONDS, *STEPS)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Measures a step of the batch, also where it fails: a step that ran into a timeout is the one to find."""
    started = time.perf_counter()
    try:
        yield
    finally:
        STEP_SECONDS.labels(name).observe(time.perf_counter() - started)


def count_batch(meters: int, vehicles: int, dead_letters: int, devices: int) -> None:
    """Counts what a batch stored. Call it right after the commit: what dies in between is stored and not counted."""
    READINGS_STORED.labels("meter").inc(meters)
    READINGS_STORED.labels("vehicle").inc(vehicles)
    DEAD_LETTERS.inc(dead_letters)
    LIVE_UPSERTS.inc(devices)
    BATCH_READINGS.observe(meters + vehicles + dead_letters)


def watch_pool(pool: ConnectionPool) -> None:
    """Keeps the pool's figures current until it is closed, from a thread: an idle or stuck process shows them too."""
    threading.Thread(target=_watch, args=(pool,), name="pool-figures", daemon=True).start()


def _watch(pool: ConnectionPool) -> None:
    while not pool.closed:
        figures = pool.get_stats()
        POOL_MAX_SIZE.set(figures["pool_max"])
        POOL_SIZE.set(figures["pool_size"])
        POOL_AVAILABLE.set(figures["pool_available"])
        POOL_WAITING.set(figures["requests_waiting"])
        time.sleep(POOL_LOOK_SECONDS)
