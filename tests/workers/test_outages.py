"""An outage of Redis or Postgres is some lines in the logs of beat and the workers, and no traceback."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import structlog
from redis import Redis

from devstack import postgres_server, redis_server, server
from models.observability import outages
from tests import ROOT

pytestmark = pytest.mark.slow

OUTAGE_SECONDS = 12


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="energy-outage-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def logged(home: Path, role: str, *arguments: str, **urls: str) -> Iterator[Path]:
    """The log of a process of Celery."""
    log = home / f"{role}.log"
    environment = os.environ | urls | {"LOG_LEVEL": "INFO", "LOG_FORMAT": "json", "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "--quiet", "-A", "workers", role, *arguments],
            cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield log
    finally:
        process.terminate()
        process.wait(40)


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    family = [process, *process.children(recursive=True)]
    for each in family:
        each.suspend()
    try:
        yield
    finally:
        for each in family:
            each.send_signal(signal.SIGCONT)


def until(log: Path, text: str) -> None:
    give_up_at = time.monotonic() + 30
    while text not in log.read_text():
        assert time.monotonic() < give_up_at, log.read_text()
        time.sleep(0.1)


def test_an_outage_is_a_line_now_and_then(home: Path):
    with (
        server.running(redis_server.prepare(home)) as redis_url,
        server.running(postgres_server.prepare(home)) as database_url,
    ):
        urls = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "AUTH": "required"}
        subprocess.run(
            [sys.executable, "-m", "alembic", "upgrade", "head"], cwd=ROOT, env=os.environ | urls, check=True
        )
        with Redis.from_url(redis_url) as client:
            redis = psutil.Process(client.info("server")["process_id"])
        postgres = psutil.Process(int((home / "postgres/postmaster.pid").read_text().split()[0]))
        schedule = str(home / "schedule")
        with (
            logged(home, "worker", "--concurrency", "1", "--without-gossip", "--without-mingle", **urls) as worker,
            logged(home, "beat", "--pidfile=", "--schedule", schedule, **urls) as beat,
        ):
            until(worker, "ready")
            time.sleep(3)  # some sweeps run, so that the worker has connections to both servers
            with stopped(redis):
                until(beat, "task_not_sent")
                time.sleep(OUTAGE_SECONDS)
            with stopped(postgres):
                until(worker, "sweep_failed")
                time.sleep(OUTAGE_SECONDS)
    for log in (worker.read_text(), beat.read_text()):
        assert "Traceback" not in log, log
        assert "exception" not in log, log
    assert 2 <= beat.read_text().count("task_not_sent") <= 6, beat.read_text()
    assert len(beat.read_text().splitlines()) <= 8
    assert 2 <= worker.read_text().count("sweep_failed") <= 4, worker.read_text()


def test_repeats_are_counted_apart(monkeypatch):
    times = iter([100.0, 101.0, 109.9, 110.0, 111.0, 130.0, 131.0, 131.0])
    monkeypatch.setattr(outages.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(outages, "_last_lines", {})
    monkeypatch.setattr(outages, "_unlogged", {})
    with structlog.testing.capture_logs() as lines:
        for _ in range(6):
            outages.warn_of_outage("drain_failed", OSError("gone"), shard=0)
        outages.warn_of_outage("drain_failed", OSError("gone"), shard=1)
        outages.warn_of_outage("drain_failed", ValueError("other"), shard=1)
    assert [(line["shard"], line["error"], line.get("repeats")) for line in lines] == [
        (0, "OSError", None), (0, "OSError", 2), (0, "OSError", 1), (1, "OSError", None), (1, "ValueError", None)
    ]  # fmt: skip
