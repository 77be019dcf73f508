"""The programs of the stack, in the order of starting."""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devstack.server import Server
from devstack.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
# `-m` finds the tool in this virtualenv, even if it was moved, and the code in the current directory.
PYTHON = [sys.executable, "-m"]
# On a busy machine workers run before the web: answers take longer, which slows the senders, and the backlog stays
# small. A flood of batches is stored a third faster, single readings no slower.
LOW_PRIORITY = ["nice", "-n", "10"]
# Servers are processes of another user if root starts them: they get no setting, no URL and no key.
NO_ENVIRONMENT = ["env", "-i", f"PATH={os.defpath}"]
METRICS = "run/metrics"  # in the stack's folder
MEMORY = Path("/dev/shm")  # noqa: S108 (the folder in it has an unforeseeable name)
METRICS_BYTES = 64 * 2**20  # far more than the processes write


@dataclass(frozen=True)
class Program:
    """One process to keep running. The stop_seconds of all programs add up, see supervision.STOP_SECONDS."""

    name: str
    argv: list[str]
    stop_seconds: int  # before kill -9
    directory: Path = ROOT
    stop_signal: signal.Signals = signal.SIGTERM
    user: str | None = None


def servers(embedded: list[Server]) -> list[Program]:
    seconds = {"postgres": 4, "redis": 3}
    return [
        Program(s.name, [*NO_ENVIRONMENT, *s.argv], seconds[s.name], s.directory, s.stop_signal, s.user)
        for s in embedded
    ]


def applications(settings: Settings) -> list[Program]:
    """The programs of this repository. They stop from the last to the first: senders before receivers."""
    return [
        # Only the parent gets the signal; its children finish. An interrupted batch is stored by a later drain.
        Program("worker", [*with_metrics(settings, "worker"), *PYTHON, "celery", "--quiet", "-A", "workers", "worker",
                           "--loglevel", "INFO", "--without-gossip", "--without-mingle",
                           "--concurrency", str(settings.worker_concurrency)], stop_seconds=10),
        Program("web", [*with_metrics(settings, "web"), *LOW_PRIORITY, *PYTHON, *granian(settings),
                        "webapp:create_app"], stop_seconds=5),
        Program("beat", [*PYTHON, "celery", "--quiet", "-A", "workers", "beat", "--pidfile=",
                         "--schedule", str(settings.home / "run/beat")], stop_seconds=3),
        *([Program("simulate", [*PYTHON, "webapp.commands", "simulate", str(settings.simulate),
                                "--url", settings.url], stop_seconds=5)] if settings.simulate else []),
    ]  # fmt: skip


def with_metrics(settings: Settings, role: str) -> list[str]:
    """The start of a command whose processes share a folder of metrics for their role."""
    return ["env", f"PROMETHEUS_MULTIPROC_DIR={settings.home / METRICS / role}"]


def granian(settings: Settings) -> list[str]:
    options = {
        "interface": "wsgi",
        "host": settings.host,
        "port": settings.port,
        "workers": settings.web_workers,
        "blocking-threads": 64,  # per worker; a slow body occupies one
        "backpressure": 512,  # open connections per worker, not requests
        "workers-kill-timeout": 3,  # seconds
        "http": "1",  # makes the next option apply to silent senders and idle connections
        "http1-header-read-timeout": 30_000,  # milliseconds, to the end of the headers
        "http1-buffer-size": 65_536,  # bytes, of the headers of a request
        "http2-max-headers-size": 65_536,  # bytes
        "log-config": "webapp/granian_logs.json",
    }
    switches = ["--factory", "--no-ws", "--respawn-failed-workers"]
    return [
        "granian",
        *(word for name, value in options.items() for word in (f"--{name}", str(value))),
        *switches,
    ]


@contextlib.contextmanager
def metrics_folders(home: Path) -> Iterator[None]:
    """Empty folders for the metrics of web and workers, removed on exit.

    They are in memory if possible. Their files are mapped: on a full disk the kernel kills a process that writes one.
    """
    link = home / METRICS
    _remove(link)
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > METRICS_BYTES:
        link.symlink_to(tempfile.mkdtemp(prefix="energy-", dir=MEMORY))
    for role in ("web", "worker"):
        (link / role).mkdir(parents=True)
    try:
        yield
    finally:
        _remove(link)


def _remove(link: Path) -> None:
    shutil.rmtree(link.resolve(), ignore_errors=True)
    if link.is_symlink():
        link.unlink()


def environment(
    settings: Settings, database_url: str, redis_url: str, embedded: Sequence[Server] = ()
) -> dict[str, str]:
    """The environment of every program. It has no API key: the simulator reads its own from the folder."""
    # The URL of an embedded server has its password.
    prefixes = [{"postgres": "DATABASE", "redis": "REDIS"}[server.name] for server in embedded]
    without = {"ENERGY_API_URL", "ENERGY_API_KEY"}
    without |= {f"{prefix}_PASSWORD{suffix}" for prefix in prefixes for suffix in ("", "_FILE")}
    inherited = {name: value for name, value in os.environ.items() if name not in without}
    metrics_port = settings.port + 1100  # 9100 beside 8000; as the API's, one for each stack of this machine
    return inherited | {
        "ENERGY_HOME": str(settings.home),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "DATA_FOLDERS": ",".join(str(server.directory) for server in embedded) or os.environ.get("DATA_FOLDERS", ""),
        "AUTH": settings.auth,
        "ALLOW_INSECURE": str(int(settings.auth == "off")),  # devstack/settings.py has checked it
        "WORKER_METRICS_PORT": os.environ.get("WORKER_METRICS_PORT")
        or str(metrics_port if metrics_port < 65536 else 0),
        "PYTHONUNBUFFERED": "1",
        "LOG_FORMAT": os.environ.get("LOG_FORMAT") or "console",  # for people at this terminal
        "LOG_REQUESTS": os.environ.get("LOG_REQUESTS") or "errors",
        # A long warning of Celery to root, irrelevant in development.
        "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS") or "ignore:You're running the worker with superuser",
    }
