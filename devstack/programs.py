"""What the stack consists of: every process, in the order of starting."""

import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from devstack.server import Server
from devstack.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
# `-m` finds the tool in this virtualenv, wherever that was moved to, and the code in the current directory.
PYTHON = [sys.executable, "-m"]


@dataclass(frozen=True)
class Program:
    """One process to keep running. The seconds to stop of all programs add up; see STOP_SECONDS."""

    name: str
    argv: list[str]
    stop_seconds: int  # then kill -9
    directory: Path = ROOT
    stop_signal: signal.Signals = signal.SIGTERM
    user: str | None = None


def servers(embedded: list[Server]) -> list[Program]:
    seconds = {"postgres": 4, "redis": 3}
    return [Program(s.name, s.argv, seconds[s.name], s.directory, s.stop_signal, s.user) for s in embedded]


def applications(settings: Settings) -> list[Program]:
    """The programs of this repository. They stop from the last to the first: the source before the sink."""
    return [
        # Only the parent gets the signal, and lets its children finish. A batch cut off is done again later.
        Program("worker", [*PYTHON, "celery", "--quiet", "-A", "workers", "worker", "--loglevel", "INFO",
                           "--without-gossip", "--without-mingle",
                           "--concurrency", str(settings.worker_concurrency)], stop_seconds=10),
        Program("web", [*PYTHON, *granian(settings), "webapp:create_app"], stop_seconds=5),
        Program("beat", [*PYTHON, "celery", "--quiet", "-A", "workers", "beat", "--pidfile=",
                         "--schedule", str(settings.home / "run/beat")], stop_seconds=1),
        *([Program("simulate", [*PYTHON, "flask", "--app", "webapp", "simulate", str(settings.simulate),
                                "--url", settings.url], stop_seconds=1)] if settings.simulate else []),
    ]  # fmt: skip


def granian(settings: Settings) -> list[str]:
    options = {
        "interface": "wsgi",
        "host": settings.host,
        "port": settings.port,
        "workers": settings.web_workers,
        "blocking-threads": 64,  # a worker; a body that comes slowly holds one
        "backpressure": 512,  # open connections a worker, not requests: devices keep theirs open
        "workers-kill-timeout": 3,  # seconds
    }
    switches = ["--factory", "--no-ws", "--respawn-failed-workers"]
    return [
        "granian",
        *(word for name, value in options.items() for word in (f"--{name}", str(value))),
        *switches,
    ]


def environment(settings: Settings, database_url: str, redis_url: str) -> dict[str, str]:
    """The environment of every program; makes its folders."""
    metrics = settings.home / "run/metrics"
    shutil.rmtree(metrics, ignore_errors=True)  # counters of processes that are gone
    metrics.mkdir(parents=True)
    return os.environ | {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "ENERGY_API_URL": settings.url,
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        "PYTHONUNBUFFERED": "1",
        "LOG_FORMAT": os.environ.get("LOG_FORMAT") or "console",  # for the person at this terminal
        # Said by Celery to root, at length; this is for development.
        "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS") or "ignore:You're running the worker with superuser",
    }
