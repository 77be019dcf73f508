"""Metrics agree with the database, over several processes and after a kill -9; Prometheus accepts them."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import psutil
import psycopg
import pytest
import redis
import urllib3
from prometheus_client.parser import text_string_to_metric_families
from psycopg_pool import PoolTimeout

from models.storage.history import MostlyRefused
from models.stream.admission import BacklogFull
from tests import ROOT
from tests.factories import meter, vehicle
from tests.processes import free_port, running
from workers import drain as drain_module
from workers.metrics import FAILURES

pytestmark = pytest.mark.slow

CELERY = ["celery", "--quiet", "-A", "workers", "worker", "--loglevel", "ERROR", "--concurrency", "2"]
GRANIAN = ["granian", "--interface", "wsgi", "--factory", "--workers", "2", "--blocking-threads", "4", "--no-ws"]
RESPAWNING = ["--respawn-failed-workers", "--workers-kill-timeout", "5", "webapp:create_app"]


# ── In one process ───────────────────────────────────────────────────────────────────────────────────────────────


def values_of(text: str) -> dict[str, float]:
    """`name{label="value"}` to its value."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


@pytest.fixture
def counted(client):
    """The increase of a metric in this test: `counted("energy_dead_letters_total")`."""
    before = values_of(client.get("/metrics").text)
    return lambda name: values_of(client.get("/metrics").text).get(name, 0) - before.get(name, 0)


def test_accepted_and_rejected_readings_are_counted_by_kind_and_reason(client, counted, drain_all):
    client.post("/v1/telemetry", json=[meter(), meter(), vehicle(), {}])
    client.post("/v1/telemetry", json={})
    client.post("/v1/telemetry?atomic=true", json=[meter(), {}])
    assert counted('energy_readings_accepted_total{kind="meter"}') == 2
    assert counted('energy_readings_accepted_total{kind="vehicle"}') == 1
    assert counted('energy_readings_rejected_total{reason="validation"}') == 3
    assert counted('energy_readings_rejected_total{reason="atomic"}') == 1
    drain_all()


def test_a_repeat_is_not_accepted_again(client, counted, drain_all):
    headers = {"Idempotency-Key": "the same"}
    body = client.application.json.dumps(meter())
    for _ in range(3):
        client.post("/v1/telemetry", data=body, content_type="application/json", headers=headers)
    assert counted('energy_readings_accepted_total{kind="meter"}') == 1
    drain_all()


@pytest.mark.parametrize(
    ("reason", "request_"),
    [
        ("validation", {"json": {}}),
        ("malformed", {"data": "{", "content_type": "application/json"}),
        ("media_type", {"data": "x", "content_type": "text/plain"}),
        ("too_large", {"json": [{}] * 10_001}),
        ("method_not_allowed", {"method": "DELETE"}),
        ("not_found", {"path": "/nowhere"}),
    ],
)
def test_refused_requests_are_counted_by_reason(client, counted, reason, request_):
    client.open(**{"path": "/v1/telemetry", "method": "POST", **request_})
    assert counted(f'energy_requests_refused_total{{reason="{reason}"}}') == 1


@pytest.mark.parametrize(
    ("reason", "error"), [("backlog_full", BacklogFull("full")), ("unexpected", ZeroDivisionError())]
)
def test_refusals_of_the_stream_are_counted_by_reason(client, counted, monkeypatch, reason, error):
    monkeypatch.setattr("models.stream.telemetry.TelemetryStream.append", lambda *_, **__: (_ for _ in ()).throw(error))
    client.post("/v1/telemetry", json=meter())
    assert counted(f'energy_requests_refused_total{{reason="{reason}"}}') == 1


def test_an_unavailable_redis_is_counted_and_its_metrics_are_absent(client, counted, with_settings):
    with_settings(redis_url="redis://127.0.0.1:1/0")
    assert client.post("/v1/telemetry", json=meter()).status_code == 503
    assert counted('energy_requests_refused_total{reason="redis_unavailable"}') == 1
    shown = values_of(client.get("/metrics").text)
    assert shown['energy_ready{check="redis"}'] == 0
    assert not [name for name in shown if name.startswith("energy_backlog_entries")]


def test_no_label_comes_from_the_sender(client):
    for number in range(5):
        client.open(f"/nowhere/{number}", method=f"METHOD{number}")
        client.get(f"/v1/vehicles/V{number}")
    series = [
        name for name in values_of(client.get("/metrics").text) if name.startswith("energy_request_seconds_count")
    ]
    assert not [name for name in series if "METHOD" in name or re.search(r"V\d|nowhere", name)]
    assert any('method="other"' in name and 'route="unmatched"' in name for name in series)


def test_a_batch_is_counted_once_it_is_committed_and_not_before(client, counted, resources, drain_all, monkeypatch):
    client.post("/v1/telemetry", json=[meter("M1"), meter("M1"), vehicle("V1")])
    with monkeypatch.context() as patch:
        patch.setattr(drain_module, "move_position", lambda *_, **__: 1 / 0)
        for shard in range(resources.stream.shards):
            if resources.stream.backlog(shard):
                with pytest.raises(ZeroDivisionError):
                    drain_module.drain_batch(resources, shard)
    assert counted('energy_readings_stored_total{kind="meter"}') == 0
    drain_all()
    assert counted('energy_readings_stored_total{kind="meter"}') == 2
    assert counted('energy_readings_stored_total{kind="vehicle"}') == 1
    assert counted("energy_live_upserts_total") == 2
    assert (counted("energy_batch_readings_count"), counted("energy_batch_readings_sum")) == (1, 3)
    for step in ("read", "decode", "copy", "live", "position", "commit", "trim"):
        assert counted(f'energy_drain_step_seconds_count{{step="{step}"}}') >= 1, step


def test_entries_of_a_diverged_stream_are_counted_too(client, counted, resources, broker, drain_all):
    client.post("/v1/telemetry", json=meter("M1"))
    shard = next(shard for shard in range(resources.stream.shards) if resources.stream.backlog(shard))
    (entry_id, fields) = broker.xrange(f"telemetry:{{{shard}}}")[0]
    drain_all()
    broker.delete(f"telemetry:{{{shard}}}")
    broker.xadd(f"telemetry:{{{shard}}}", fields, id=f"{int(entry_id.split(b'-')[0]) - 5}-0")
    drain_all()
    assert counted("energy_stream_divergences_total") >= 1
    assert counted('energy_readings_stored_total{kind="meter"}') == 2


def test_dead_letters_are_counted(counted, resources, broker, drain_all):
    broker.xadd("telemetry:{0}", {"v1": b"\xff"})
    drain_all()
    assert counted("energy_dead_letters_total") == 1


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("redis", redis.ConnectionError()),
        ("mostly_refused", MostlyRefused()),
        ("transient", psycopg.errors.DeadlockDetected()),
        ("postgres", psycopg.errors.DiskFull()),
        ("connection", psycopg.OperationalError()),
        ("pool", PoolTimeout()),
    ],
)
def test_failures_of_the_drain_are_counted_by_class(client, counted, drain_all, monkeypatch, reason, error):
    client.post("/v1/telemetry", json=[meter()])
    with monkeypatch.context() as patch:
        patch.setattr(drain_module, "drain_batch", lambda *_: (_ for _ in ()).throw(error))
        for shard in range(2):
            drain_module.drain(shard)
    assert counted(f'energy_drain_failures_total{{reason="{reason}"}}') == 1
    assert reason in FAILURES
    drain_all()


def test_promtool_accepts_the_metrics(client):
    if not shutil.which("promtool"):
        pytest.skip("needs promtool (Debian: prometheus)")
    text = client.get("/metrics").text
    assert check_metrics(text) == ""
    assert "_created" not in text


def check_metrics(text: str) -> str:
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    # Python's own figures, which only a process by itself shows, are not ours to name.
    return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("python_"))


# ── In many ──────────────────────────────────────────────────────────────────────────────────────────────────────


def scrape(port: int) -> str:
    return urllib3.request("GET", f"http://127.0.0.1:{port}/metrics", retries=False, timeout=10).data.decode()


def until(true, seconds: float = 60):
    give_up_at = time.monotonic() + seconds
    while True:
        try:
            if found := true():
                return found
        except urllib3.exceptions.HTTPError:
            pass
        assert time.monotonic() < give_up_at, "did not happen in time"
        time.sleep(0.1)


def total(shown: dict[str, float], name: str) -> float:
    return sum(value for series, value in shown.items() if series.startswith(name))


def children(process: subprocess.Popen) -> list[int]:
    return [child.pid for child in psutil.Process(process.pid).children() if child.status() != psutil.STATUS_ZOMBIE]


def test_metrics_agree_with_the_database_while_web_and_worker_processes_are_killed(resources, database, tmp_path):
    web_port, worker_port = free_port(), free_port()
    ledger = 0

    def post(requests: int) -> None:
        nonlocal ledger
        for _ in range(requests):
            body = [meter("M1"), meter("M2"), vehicle("V1")]
            # A connection each, so that both web processes get some.
            answer = urllib3.request("POST", f"http://127.0.0.1:{web_port}/v1/telemetry", json=body, retries=3)
            assert answer.status == 202
            ledger += len(body)

    def drained() -> bool:
        # There is no beat: bells that were lost are rung again here.
        from workers.doorbell import ring

        for shard in range(resources.stream.shards):
            if resources.stream.backlog(shard):
                ring(shard)
        return not any(resources.stream.backlog(shard) for shard in range(resources.stream.shards))

    with (
        running(tmp_path, "web", [*GRANIAN, "--port", str(web_port), *RESPAWNING]) as web,
        running(tmp_path, "worker", CELERY, WORKER_METRICS_PORT=str(worker_port)) as worker,
    ):
        until(lambda: "energy_pool_size" in scrape(web_port) and "energy_pool_size" in scrape(worker_port))
        until(lambda: len(children(web)) == 2 and len(children(worker)) >= 2)
        post(60)
        until(drained)
        webs, workers = children(web), children(worker)
        os.kill(webs[0], signal.SIGKILL)
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: set(children(web)) - set(webs) and set(children(worker)) - set(workers))
        until(lambda: urllib3.request("GET", f"http://127.0.0.1:{web_port}/health/live", retries=False).status == 200)
        post(60)
        until(drained)
        both = 2 * resources.settings.db_pool_size  # of both live processes
        until(lambda: values_of(scrape(web_port))["energy_pool_max_size"] == both)
        of_web, of_worker = scrape(web_port), scrape(worker_port)
        # The port is the parent's alone: no child keeps it open.
        for pid in children(worker):
            assert worker_port not in {
                c.laddr.port for c in psutil.Process(pid).net_connections() if c.status == "LISTEN"
            }
    in_history = sum(
        database.execute(f"select count(*) from {kind}_readings_history").fetchone()[0] for kind in ("meter", "vehicle")
    )
    web_values, worker_values = values_of(of_web), values_of(of_worker)
    assert total(web_values, "energy_readings_accepted_total") == ledger == in_history == 360
    assert total(worker_values, "energy_readings_stored_total") == in_history
    assert "energy_backlog_entries" not in of_worker  # only the web has it
    for role, dead in (("web", webs[0]), ("worker", workers[0])):
        left = [file.name for file in (tmp_path / role).iterdir()]
        assert not [name for name in left if name.endswith(f"_{dead}.db")]
        assert "counter_dead.db" in left
    if shutil.which("promtool"):
        assert check_metrics(of_web) == check_metrics(of_worker) == ""


def test_a_worker_without_a_folder_for_metrics_logs_that(resources, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    port = free_port()
    command = [sys.executable, "-m", *CELERY]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment | {"WORKER_METRICS_PORT": str(port), "LOG_LEVEL": "ERROR"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert any("metrics_not_served" in line for line in process.stdout)
    finally:
        process.terminate()
        process.communicate(timeout=30)
