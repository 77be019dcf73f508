"""The Celery application, the resources of each worker process, and its heartbeats."""

import os
from contextlib import suppress
from functools import cache

import redis
from celery import Celery, signals

from models.observability.heartbeats import BEAT, WORKER, Heartbeats, open_heartbeats
from models.observability.logs import configure_logs
from models.resources import Resources, connect_worker
from models.settings import load_settings

app = Celery(
    "workers", include=["workers.drain", "workers.maintenance", "workers.alerts", "workers.webhooks", "workers.rollups"]
)
app.config_from_object("celeryconfig")

_resources: Resources | None = None


def current_resources() -> Resources:
    """The resources of this process, opened at the first use and therefore after the fork."""
    global _resources
    if _resources is None:
        _resources = connect_worker(load_settings())
    return _resources


@cache
def _heartbeats() -> Heartbeats:
    return open_heartbeats(load_settings())  # usable after a fork


def record_heartbeat(process: str) -> None:
    """Records a heartbeat; does nothing while Redis is unavailable."""
    with suppress(redis.RedisError):
        _heartbeats().record(process)


@signals.after_task_publish.connect(sender="workers.maintenance.sweep")
def _note_beat(**_) -> None:
    record_heartbeat(BEAT)  # only beat publishes sweeps


@signals.heartbeat_sent.connect
def _note_worker(sender, **_) -> None:
    record_heartbeat(_worker(sender.eventer.hostname))  # the main process, connected to the broker


@signals.worker_shutdown.connect
def _forget_worker(sender, **_) -> None:
    with suppress(redis.RedisError):
        _heartbeats().remove(_worker(sender.hostname))


def _worker(node: str) -> str:
    return f"{WORKER}{node}/{os.getpid()}"


@signals.setup_logging.connect
def _configure_logs(**_) -> None:
    configure_logs(load_settings())


@signals.worker_process_init.connect
def _open(**_) -> None:
    current_resources()


@signals.worker_process_shutdown.connect
def _close(**_) -> None:
    global _resources
    if _resources is not None:
        _resources.close()
        _resources = None
