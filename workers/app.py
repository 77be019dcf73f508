"""The Celery application and what each worker process holds open."""

from celery import Celery, signals

from models.connections import Connections, connect_worker
from models.logs import configure_logs
from models.settings import load_settings

app = Celery("workers", include=["workers.drain", "workers.maintenance"])
app.config_from_object("celeryconfig")

_connections: Connections | None = None


def connections() -> Connections:
    """This process's connections, opened at the first use: after the fork, and where no worker forks."""
    global _connections
    if _connections is None:
        _connections = connect_worker(load_settings())
    return _connections


@signals.setup_logging.connect
def _configure_logs(**_) -> None:
    configure_logs(load_settings())


@signals.worker_process_init.connect
def _open(**_) -> None:
    connections()


@signals.worker_process_shutdown.connect
def _close(**_) -> None:
    global _connections
    if _connections is not None:
        _connections.close()
        _connections = None
