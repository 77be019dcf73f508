"""Metrics of both roles: the batch writer runs in workers and, with INGEST_FALLBACK=direct, in the web.

Each process keeps its own values; models/observability/exposition.py merges those of a role. A label has few values,
all listed in the code: never a device, a key or a message. docs/operations.md explains each metric.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics
from psycopg_pool import ConnectionPool

from models.observability.threads import start_rounds

disable_created_metrics()  # one more series for each counter, and no dashboard uses it

POOL_SAMPLE_SECONDS = 1.0

STEPS = (
    *("lock", "divergence", "read", "decode", "copy", "stale_marks"),
    *("live", "dead_letters", "position", "commit", "trim"),
)

READINGS_STORED = Counter("energy_readings_stored_total", "Readings committed to history", ["kind"])
LIVE_UPSERTS = Counter("energy_live_upserts_total", "Live rows written, one for each device of a batch")
DEAD_LETTERS = Counter("energy_dead_letters_total", "Readings and entries committed to the dead letters")
BATCH_READINGS = Histogram(
    "energy_batch_readings",
    "Readings in a committed batch, dead letters included",
    buckets=(1, 10, 100, 500, 1_000, 5_000, 10_000, 20_000, 50_000, 100_000),
)
STEP_SECONDS = Histogram(
    "energy_drain_step_seconds",
    "Duration of a step of a batch, in seconds",
    ["step"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
STREAM_DIVERGENCES = Counter("energy_stream_divergences_total", "Drains that found their stream and position diverged")

# Summed over live processes.
POOL_MAX_SIZE = Gauge("energy_pool_max_size", "Connections the pools may open", multiprocess_mode="livesum")
POOL_SIZE = Gauge("energy_pool_size", "Open connections of the pools", multiprocess_mode="livesum")
POOL_AVAILABLE = Gauge("energy_pool_available", "Open connections that are not in use", multiprocess_mode="livesum")
POOL_WAITING = Gauge("energy_pool_waiting", "Threads waiting for a connection", multiprocess_mode="livesum")


def make_series(metric: Counter | Histogram, *labels: str) -> None:
    """Exposes each series at 0 from the start; otherwise Prometheus would miss its first increase."""
    for label in labels:
        metric.labels(label)


make_series(READINGS_STORED, "meter", "vehicle")
make_series(STEP_SECONDS, *STEPS)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Measures a step of a batch. A step that fails counts as well: a timeout must show in the histogram."""
    started = time.perf_counter()
    try:
        yield
    finally:
        STEP_SECONDS.labels(name).observe(time.perf_counter() - started)


def watch_pool(pool: ConnectionPool[Any]) -> None:
    """Samples the pool from a thread until it is closed, so that an idle or stuck process is visible too."""
    start_rounds("pool-metrics", lambda: _sample_pool(pool), seconds=POOL_SAMPLE_SECONDS, until=lambda: pool.closed)


def _sample_pool(pool: ConnectionPool[Any]) -> None:
    stats = pool.get_stats()
    POOL_MAX_SIZE.set(stats["pool_max"])
    POOL_SIZE.set(stats["pool_size"])
    POOL_AVAILABLE.set(stats["pool_available"])
    POOL_WAITING.set(stats["requests_waiting"])
