"""The Celery application, and the resources and heartbeats of its processes."""

import gc
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import psycopg
import redis
from celery import Celery, signals
from celery.exceptions import CPendingDeprecationWarning

from models.observability.heartbeats import BEAT, WORKER, Heartbeats, open_heartbeats
from models.observability.logs import configure_logs
from models.observability.outages import warn_of_outage
from models.resources import Resources, connect_worker
from models.settings import load_settings

app = Celery(
    "workers", include=["workers.drain", "workers.maintenance", "workers.alerts", "workers.webhooks", "workers.rollups"]
)
app.config_from_object("celeryconfig")
# Celery's paragraph on each lost connection. A drain goes on without the broker.
warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)

_resources: Resources | None = None


def current_resources() -> Resources:
    """This process's resources, opened at the first use: after the fork, or in a worker that does not fork."""
    global _resources
    if _resources is None:
        # What the imports left is never garbage; without this, each full collection during a batch would scan it.
        gc.collect()
        gc.freeze()
        _resources = connect_worker(load_settings())
    return _resources


@contextmanager
def tolerate_outage(event: str) -> Iterator[None]:
    """Logs an error of Redis or Postgres as `event` and swallows it: beat starts the task again."""
    try:
        yield
    except (redis.RedisError, psycopg.Error) as error:
        warn_of_outage(event, error)


# ── Heartbeats ───────────────────────────────────────────────────────────────────────────────────────────────


@cache
def _heartbeats() -> Heartbeats:
    return open_heartbeats(load_settings())  # survives a fork


def record_heartbeat(name: str) -> None:
    """Does nothing if Redis is unavailable."""
    with suppress(redis.RedisError):
        _heartbeats().record(name)


@signals.after_task_publish.connect(sender="workers.maintenance.sweep")
def _record_beat(**_: Any) -> None:
    record_heartbeat(BEAT)  # only beat publishes this task


@signals.heartbeat_sent.connect
def _record_worker(sender: Any, **_: Any) -> None:
    record_heartbeat(_worker(sender.eventer.hostname))  # of the main process, connected to the broker


@signals.worker_shutdown.connect
def _remove_worker(sender: Any, **_: Any) -> None:
    with suppress(redis.RedisError):
        _heartbeats().remove(_worker(sender.hostname))


def _worker(node: str) -> str:
    return f"{WORKER}{node}/{os.getpid()}"


# ── Processes ────────────────────────────────────────────────────────────────────────────────────────────────


@signals.setup_logging.connect
def _configure_logs(**_: Any) -> None:
    configure_logs(load_settings())


@signals.worker_process_init.connect
def _open(**_: Any) -> None:
    current_resources()


@signals.worker_process_shutdown.connect
def _close(**_: Any) -> None:
    global _resources
    if _resources is not None:
        _resources.close()
        _resources = None
