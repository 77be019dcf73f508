"""Name, health and metrics of the service, and the shape of errors."""

import threading
import time

import pytest

from models.resources import Resources
from models.stream.telemetry import TelemetryStream
from tests.factories import meter
from webapp.service import RecentChecks


def test_the_service_answers_its_name_and_version(client):
    answer = client.get("/")
    assert answer.json["service"] == "Energy Ingestion Engine"
    assert (answer.json["status"], bool(answer.json["version"])) == ("running", True)
    browser = client.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (browser.status_code, browser.headers["Location"]) == (302, "/docs/")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("PUT", "/v1/telemetry", 405),
        ("POST", "/v1/vehicles", 405),
        ("GET", "/v1/analytics/performance/NOBODY", 404),
        ("POST", "/v1/telemetry", 415),
        ("GET", "/v1/vehicles?limit=-1", 422),
    ],
)
def test_every_error_has_the_same_shape(client, method, path, status):
    data = {"data": "x", "content_type": "text/plain"} if status == 415 else {}
    answer = client.open(path, method=method, **data)
    assert answer.status_code == status
    body = answer.json
    assert body.pop("errors", {}) is not None
    assert set(body) == {"statusCode", "path", "message", "timestamp", "requestId"}
    assert (body["statusCode"], body["path"]) == (status, path.split("?")[0])
    assert body["timestamp"].endswith("Z")
    assert body["requestId"] == answer.headers["X-Request-ID"]
    if status == 405:
        assert answer.headers["Allow"]


def test_unknown_paths_and_methods_lead_to_the_documentation(client):
    for method, path in (("GET", "/v1/metres"), ("PUT", "/v1/telemetry")):
        assert "/docs" in client.open(path, method=method).json["message"]


def test_an_unexpected_error_discloses_nothing(client, monkeypatch):
    monkeypatch.setattr("models.analytics.energy.performance.get_performance", lambda *_, **__: 1 / 0)
    answer = client.get("/v1/analytics/performance/V001")
    assert answer.status_code == 500
    assert "ZeroDivision" not in answer.text
    assert answer.json["requestId"]


def test_a_plain_request_id_of_the_sender_is_returned(client):
    assert client.get("/", headers={"X-Request-ID": "depot-7.42"}).headers["X-Request-ID"] == "depot-7.42"
    assert client.get("/", headers={"X-Request-ID": "a b\tc"}).headers["X-Request-ID"] != "a b\tc"


def test_liveness_and_readiness_with_all_parts(client, alive):
    assert client.get("/health/live").json == {"status": "live"}
    ready = client.get("/health/ready")
    assert ready.status_code == 200
    servers = ["disk", "postgres", "connections", "transactions", "slots", "migrations", "partitions", "redis"]
    parts = ["durability", "backlog", "drain", "stream", "losses", "broker", "beat", "workers", "keys", "threads"]
    parts += ["rollups"]
    assert list(ready.json["checks"]) == servers + parts
    assert all(check["ok"] is True for check in ready.json["checks"].values())


def test_readiness_names_an_unavailable_redis(client, with_settings):
    with_settings(redis_url="redis://127.0.0.1:1/0")
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json["checks"]["redis"]["ok"] is False
    assert answer.json["checks"]["postgres"]["ok"] is True
    assert "redis" in answer.json["errors"]


def test_readiness_names_an_unavailable_postgres_and_ingest_goes_on(app, client, resources, drain_all):
    from dataclasses import replace

    from models.database import open_web_pool

    before = app.extensions["resources"]
    settings = replace(before.settings, database_url="postgresql://nobody@127.0.0.1:1/none", db_timeout_seconds=0.2)
    unavailable = Resources(settings, open_web_pool(settings), TelemetryStream(settings))
    app.extensions["resources"] = unavailable
    try:
        answer = client.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json["checks"]["postgres"]["ok"] is False
        performance = client.get("/v1/analytics/performance/V001")
        assert performance.status_code == 503
        assert "Retry-After" in performance.headers
        assert client.post("/v1/telemetry", json=meter()).status_code == 202
    finally:
        app.extensions["resources"] = before
        unavailable.close()
    drain_all()


def test_readiness_names_a_shard_that_does_not_move(client, resources, database, drain_all, broker):
    broker.xadd("telemetry:{1}", {"v1": b""}, id="1000-0")  # the oldest entry is decades old
    database.execute("insert into ingest_positions (shard, failure) values (1, 'DiskFull: no space left')")
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert "shard 1 has not moved" in answer.json["checks"]["drain"]["detail"]
    assert "no space left" in answer.json["checks"]["drain"]["detail"]
    broker.delete("telemetry:{1}")


def test_metrics_show_readings_and_backlog(client, drain_all):
    client.post("/v1/telemetry", json=[meter(), {}])
    text = client.get("/metrics").text
    assert 'energy_readings_accepted_total{kind="meter"}' in text
    assert "energy_readings_rejected_total" in text
    backlog = [line for line in text.splitlines() if line.startswith("energy_backlog_entries{")]
    assert sum(float(line.split()[-1]) for line in backlog) == 1
    drain_all()


def test_many_strangers_make_readiness_look_once_a_second(resources, monkeypatch):
    looks, started = [], threading.Event()

    def look(_):
        looks.append(time.monotonic())
        started.set()
        time.sleep(0.2)

    monkeypatch.setattr("webapp.service.take_snapshot", look)
    monkeypatch.setattr("webapp.service.check_readiness", lambda _: {"look": len(looks)})
    checks, found = RecentChecks(seconds=0.5), []
    threads = [threading.Thread(target=lambda: found.append(checks.get(resources))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{"look": 1}] * 20
    time.sleep(0.5)
    started.clear()
    refreshing = threading.Thread(target=checks.get, args=[resources])
    refreshing.start()
    started.wait()
    assert checks.get(resources) == {"look": 1}, "what was found before, without waiting"
    refreshing.join()
    assert checks.get(resources) == {"look": 2}
