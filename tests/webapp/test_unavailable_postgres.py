"""While Postgres is unavailable, reads are answered 503 within a second, and ingest goes on."""

import os
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from devstack import postgres_server, server
from models.resources import connect_web
from tests.factories import meter
from webapp.http.resources import FAILURES_TO_OPEN, PROBE_AFTER_SECONDS, new_breaker

pytestmark = pytest.mark.slow

URL = "/v1/analytics/performance/V001"


@pytest.fixture(scope="module")
def other_postgres(servers):
    """A second Postgres, to be frozen: its URL and process id."""
    with tempfile.TemporaryDirectory(prefix="energy-tests-", ignore_cleanup_errors=True) as folder:
        prepared = postgres_server.prepare(Path(folder))
        with server.running(prepared) as url:
            pid = int(next(Path(folder).rglob("postmaster.pid")).read_text().splitlines()[0])
            yield url, pid


@pytest.fixture
def read_side(app, resources, other_postgres, drain_all):
    """The application, reading from the other Postgres and still writing into the stream of the tests."""
    before = app.extensions["resources"], app.extensions["breaker"]
    resources = connect_web(replace(before[0].settings, database_url=other_postgres[0]))
    resources.database.wait(10)
    app.extensions.update(resources=resources, breaker=new_breaker())
    yield
    app.extensions.update(resources=before[0], breaker=before[1])
    resources.close()
    drain_all()


def family(pid: int) -> list[int]:
    """The postmaster and its children: all that a frozen machine would freeze."""
    children = [int(name) for name in os.listdir("/proc") if name.isdigit() and _parent(int(name)) == pid]
    return [pid, *children]


def _parent(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return int(stat.read().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None


def test_a_frozen_postgres_delays_reads_by_a_second_at_most_and_ingest_not_at_all(client, read_side, other_postgres):
    frozen = family(other_postgres[1])
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        waits = []
        for _ in range(FAILURES_TO_OPEN + 3):
            started = time.monotonic()
            answer = client.get(URL)
            waits.append(time.monotonic() - started)
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
        assert max(waits) < 1.5
        assert max(waits[FAILURES_TO_OPEN:]) < 0.1  # the breaker is open
        assert client.post("/v1/telemetry", json=meter()).status_code == 202
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    # This Postgres has no schema: a 500 shows that it is queried again.
    deadline = time.monotonic() + PROBE_AFTER_SECONDS + 10
    while client.get(URL).status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert client.get(URL).status_code == 500
