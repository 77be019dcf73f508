"""The workers' metrics for Prometheus: those of the drain, and the port that serves a parent and its children."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from wsgiref.simple_server import WSGIServer

import psycopg
import redis
import structlog
from celery import signals
from prometheus_client import Counter, Histogram, start_http_server
from psycopg_pool import PoolTimeout

from models.database import is_transient
from models.observability.exposition import role_registry, shared_folder
from models.observability.metrics import STEP_SECONDS, make_series, watch_pool
from models.observability.thread_ages import start_publication
from models.settings import load_settings
from models.storage.history import MostlyRefused
from models.version import VERSION
from workers.app import app, current_resources

log = structlog.get_logger()

FAILURES = ("redis", "pool", "connection", "transient", "mostly_refused", "postgres")

BATCH_SECONDS = Histogram(
    "energy_batch_seconds",
    "Time from locking the shard to the end of the trim of a non-empty batch, in seconds",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
DRAIN_FAILURES = Counter("energy_drain_failures_total", "Batches that could not be stored, by cause", ["reason"])
TASK_FAILURES = Counter("energy_task_failures_total", "Tasks that ended in an unexpected error", ["task"])

WEBHOOK_ATTEMPTS = Counter(
    "energy_webhook_attempts_total", "Attempts to deliver an event to the webhook, by outcome", ["outcome"]
)

make_series(DRAIN_FAILURES, *FAILURES)
make_series(WEBHOOK_ATTEMPTS, "delivered", "refused", "unreachable")
make_series(TASK_FAILURES, "drain", "sweep", "ensure_partitions", "delete_expired", "evaluate", "deliver", "roll_up")

_server: WSGIServer | None = None


@contextmanager
def committing(connection: psycopg.Connection) -> Iterator[None]:
    """A transaction whose commit is measured as a step."""
    with connection.transaction():
        yield
        ended = time.perf_counter()
    STEP_SECONDS.labels("commit").observe(time.perf_counter() - ended)


def count_failure(error: redis.RedisError | psycopg.Error | MostlyRefused) -> None:
    DRAIN_FAILURES.labels(_reason(error)).inc()


def count_delivery(outcome: str) -> None:
    """`outcome`: delivered, refused (an answer other than 2xx) or unreachable."""
    WEBHOOK_ATTEMPTS.labels(outcome).inc()


def _reason(error: redis.RedisError | psycopg.Error | MostlyRefused) -> str:
    if isinstance(error, redis.RedisError):
        return "redis"
    if isinstance(error, PoolTimeout):
        return "pool"
    if isinstance(error, MostlyRefused):
        return "mostly_refused"
    if error.sqlstate is None:
        return "connection"
    return "transient" if is_transient(error) else "postgres"


@signals.worker_init.connect
def _serve(**_) -> None:
    """Opens the port in the parent, which runs as long as the worker. Without the port the worker still drains."""
    global _server
    settings = load_settings()
    if not settings.worker_metrics_port:
        return
    if not shared_folder():
        log.error("metrics_not_served", reason="PROMETHEUS_MULTIPROC_DIR is not set")
        return
    try:
        _server, _thread = start_http_server(
            settings.worker_metrics_port, settings.worker_metrics_host, role_registry(VERSION)
        )
    except OSError as error:
        log.error("metrics_not_served", port=settings.worker_metrics_port, reason=str(error))


@signals.worker_process_init.connect
def _start_child(**_) -> None:
    if _server:
        _server.socket.close()  # the fork's copy, which would keep the port in use after the parent has ended
    resources = current_resources()
    watch_pool(resources.database)
    start_publication(resources.settings, "worker", resources.database)


@signals.task_failure.connect
def _count_task_failure(sender=None, **_) -> None:
    if sender and sender.name in app.tasks:
        TASK_FAILURES.labels(sender.name.rsplit(".", 1)[1]).inc()
