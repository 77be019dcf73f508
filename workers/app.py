"""The Celery application and what each worker process holds open."""

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

_connections: Resources | None = None


def current_resources() -> Resources:
    """This process's connections, opened at the first use: after the fork, and where no worker forks."""
    global _connections
    if _connections is None:
        _connections = connect_worker(load_settings())
    return _connections


@cache
def _heartbeats() -> Heartbeats:
    return open_heartbeats(load_settings())  # survives a fork


def note(who: str) -> None:
    """Makes `who` heard; where Redis is away it is not, and that is no reason to stop."""
    with suppress(redis.RedisError):
        _heartbeats().record(who)


@signals.after_task_publish.connect(sender="workers.maintenance.sweep")
def _note_beat(**_) -> None:
    note(BEAT)  # only beat asks for a sweep: it rang


@signals.heartbeat_sent.connect
def _note_worker(sender, **_) -> None:
    note(_worker(sender.eventer.hostname))  # the main process, connected to the broker


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
    global _connections
    if _connections is not None:
        _connections.close()
        _connections = None
