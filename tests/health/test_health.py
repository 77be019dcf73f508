"""Ten faults on real servers: readiness, `energy status` and `energy doctor` must name each."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import psycopg
import pytest

from devstack import postgres_server, server
from models.observability.heartbeats import BEAT, SWEEP, WORKER
from models.resources import connect_web
from models.settings import load_settings
from models.storage.partitions import ensure_partitions, list_partitions
from tests import ROOT
from tests.factories import ago, meter

pytestmark = pytest.mark.slow

WORKER_NAME = f"{WORKER}celery@test/1"
AWAY = "127.0.0.1:1"


@pytest.fixture
def with_environment(app, alive, monkeypatch):
    """Gives web and commands the same other environment: `with_environment(REDIS_URL=…)`."""
    before = app.extensions["resources"]
    opened = []

    def change(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        app.extensions["resources"] = connect_web(load_settings())
        opened.append(app.extensions["resources"])

    yield change
    app.extensions["resources"] = before
    for changed in opened:
        changed.close()


@pytest.fixture
def named(client, runner):
    """What readiness, status and doctor each report as wrong: the detail by name."""

    def ask(who: str) -> dict[str, str]:
        if who == "readiness":
            answer = client.get("/health/ready")
            assert answer.status_code == 503
            assert (answer.json["statusCode"], answer.json["path"]) == (503, "/health/ready")
            return {name: detail for name, (detail,) in answer.json["errors"].items()}
        done = runner.invoke(args=[who, "--json"])
        assert done.exit_code == 1, done.output
        report = json.loads(done.stdout)
        if who == "status":
            return {name: check["detail"] for name, check in report["checks"].items() if check["ok"] is False}
        assert all(finding["why"] and finding["remedy"] for finding in report["findings"])
        return {finding["name"]: finding["found"] for finding in report["findings"] if finding["verdict"] == "wrong"}

    return lambda: {who: ask(who) for who in ("readiness", "status", "doctor")}


def expect(named, name: str, words: str, *, in_doctor: tuple[str, ...] = ()) -> None:
    """Each of the three names it and nothing else; readiness adds the remedy."""
    reports = named()
    assert all(" Remedy: " in detail for detail in reports["readiness"].values())
    for who, wrong in reports.items():
        expected = set(in_doctor or [name] if who == "doctor" else [name])
        assert set(wrong) == expected, (who, wrong)
        assert all(words in wrong[each] for each in expected), (who, wrong)


def silence(broker, *who: str, seconds: int = 90) -> None:
    for each in who:
        broker.zincrby("telemetry:heartbeats", -seconds, each)


# ── The servers ──────────────────────────────────────────────────────────────────────────────────────────────


def test_redis_unavailable(with_environment, named):
    with_environment(REDIS_URL=f"redis://{AWAY}/0")
    expect(named, "redis", "Redis does not answer")


def test_postgres_unavailable(with_environment, named):
    with_environment(DATABASE_URL=f"postgresql://nobody@{AWAY}/none")
    expect(named, "postgres", "Postgres does not answer")


@pytest.fixture
def mute_port():
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_servers_that_stand_still_are_named_soon(with_environment, named, mute_port):
    with_environment(
        DATABASE_URL=f"postgresql://nobody@127.0.0.1:{mute_port}/none", REDIS_URL=f"redis://127.0.0.1:{mute_port}/0"
    )
    started = time.monotonic()
    for wrong in named().values():
        assert {"postgres", "redis"} == set(wrong)
    assert time.monotonic() - started < 60  # three snapshots of two seconds; without a timeout each takes minutes


def test_wrong_fsync(with_environment, named, monkeypatch):
    monkeypatch.setitem(postgres_server.SETTINGS, "fsync", "off")
    with (
        tempfile.TemporaryDirectory(prefix="energy-fsync-", ignore_cleanup_errors=True) as folder,
        server.running(postgres_server.prepare(Path(folder))) as database_url,
    ):
        with_environment(DATABASE_URL=database_url)
        migrate(database_url, "head")
        expect(named, "durability", "fsync is off", in_doctor=("fsync",))


def test_evicting_redis(with_environment, named, broker):
    broker.config_set("maxmemory-policy", "allkeys-lru")
    try:
        expect(named, "durability", "maxmemory-policy is allkeys-lru", in_doctor=("maxmemory-policy",))
    finally:
        broker.config_set("maxmemory-policy", "noeviction")


def test_redis_without_append_only_file(with_environment, named, broker):
    broker.config_set("appendonly", "no")
    try:
        expect(named, "durability", "appendonly is off", in_doctor=("appendonly",))
    finally:
        broker.config_set("appendonly", "yes")


# ── The schema ───────────────────────────────────────────────────────────────────────────────────────────────


def migrate(database_url: str, *revisions: str) -> None:
    environment = os.environ | {"DATABASE_URL": database_url}
    for revision in revisions:
        way = "downgrade" if revision.startswith("-") else "upgrade"
        subprocess.run([sys.executable, "-m", "alembic", way, revision], cwd=ROOT, env=environment, check=True)


@pytest.fixture
def other_database(servers):
    """A database of its own, without a schema."""
    name = f"health_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(f"create database {name}")
        yield servers.database_url.rsplit("/", 1)[0] + f"/{name}"
        connection.execute(f"drop database {name} with (force)")


def test_migrations_behind(with_environment, named, other_database):
    with_environment(DATABASE_URL=other_database)
    expect(named, "migrations", "The schema is missing")
    migrate(other_database, "head", "-1")
    expect(named, "migrations", "behind")


def test_a_schema_of_a_later_release_is_ready(with_environment, client, database):
    (revision,) = database.execute("select version_num from alembic_version").fetchone()
    try:
        database.execute("update alembic_version set version_num = '9999'")
        checks = client.get("/health/ready").json["checks"]
        assert checks["migrations"]["ok"] is True
        assert "ahead of this code" in checks["migrations"]["detail"]
    finally:
        database.execute("update alembic_version set version_num = %s", [revision])


@pytest.mark.parametrize("kind", ["meter", "vehicle"])
def test_no_partition_for_tomorrow(with_environment, named, database, resources, kind):
    tomorrow = ago(days=-1).date()
    for partition in list_partitions(database):
        if partition.day == tomorrow and partition.name.startswith(kind):
            database.execute(f"drop table {partition.name}")  # and the days after are there
    try:
        expect(named, "partitions", "There is no partition for tomorrow")
    finally:
        ensure_partitions(database, days_ahead=resources.settings.partition_days_ahead)


# ── The way of a reading ─────────────────────────────────────────────────────────────────────────────────────


def test_beat_silent(with_environment, named, broker):
    silence(broker, BEAT, SWEEP)
    expect(named, "beat", "Beat was last seen 9")


def test_workers_silent(with_environment, named, broker):
    silence(broker, WORKER_NAME, SWEEP)
    expect(named, "workers", "No worker was seen within 30 s")


def test_workers_that_run_and_take_no_tasks(with_environment, named, broker):
    silence(broker, SWEEP)
    expect(named, "workers", "take no tasks")


def test_busy_workers_may_delay_the_sweep(with_environment, client, broker, database, drain_all):
    assert client.post("/v1/telemetry", json=meter()).status_code == 202
    drain_all()
    silence(broker, SWEEP)
    assert client.get("/health/ready").json["status"] == "ready"


def test_neither_beat_nor_a_worker_was_ever_seen(with_environment, named, broker):
    broker.delete("telemetry:heartbeats")
    for wrong in named().values():
        assert set(wrong) == {"beat", "workers"}


def test_one_shard_stuck(with_environment, named, broker, database):
    broker.xadd("telemetry:{1}", {"v1": b""}, id=f"{int((time.time() - 90) * 1000)}-0")
    database.execute("insert into ingest_positions (shard, failure) values (1, 'DiskFull: no space left')")
    expect(named, "drain", "shard 1 has not moved for 9")
    assert "no space left" in named()["status"]["drain"]
    broker.delete("telemetry:{1}")


def test_a_shard_that_moves_slowly_is_not_stuck(with_environment, client, broker, database):
    broker.xadd("telemetry:{1}", {"v1": b""}, id=f"{int((time.time() - 900) * 1000)}-0")
    database.execute("insert into ingest_positions (shard, moved_at) values (1, now() - interval '5 s')")
    drain = client.get("/health/ready").json["checks"]["drain"]
    assert drain["ok"] is True
    assert drain["figures"]["lagSeconds"] > 890
    broker.delete("telemetry:{1}")


def test_backlog_full(with_environment, named, client, drain_all):
    with_environment(STREAM_SHARDS="1", STREAM_MAX_ENTRIES="2")
    for device in ("M1", "M2"):
        assert client.post("/v1/telemetry", json=meter(device)).status_code == 202
    assert client.post("/v1/telemetry", json=meter("M3")).status_code == 503
    expect(named, "backlog", "shard 0 is full with 2 of 2 entries")
    drain_all()


def test_redis_out_of_memory(with_environment, named, broker):
    bound = broker.config_get("maxmemory")["maxmemory"]
    broker.config_set("maxmemory", int(broker.info("memory")["used_memory"] * 1.02))
    try:
        expect(named, "backlog", "Redis is out of memory", in_doctor=("maxmemory", "backlog"))
    finally:
        broker.config_set("maxmemory", bound)


# ── Answers ─────────────────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_part_is_not_named_as_wrong(with_environment, client):
    with_environment(DATABASE_URL=f"postgresql://nobody@{AWAY}/none")
    answer = client.get("/health/ready").json
    assert list(answer["errors"]) == ["postgres"]
    assert answer["message"] == "Not ready: postgres"
    unknown = {name for name, check in answer["checks"].items() if check["ok"] is None}
    parts = "connections transactions slots migrations partitions durability drain stream losses keys rollups"
    assert unknown == set(parts.split())


def test_a_stalled_watermark_is_a_warning(client, runner, alive, database):
    database.execute(
        """insert into rollup_state (marked_until, rolled_until, moved_at)
           select at, at, at from (select now() - interval '6 minutes' as at) as ago"""
    )
    check = client.get("/health/ready").json["checks"]["rollups"]
    assert check["ok"]
    assert "has not moved" in check["detail"]
    assert check["figures"]["watermarkAgeSeconds"] >= 360
    found = json.loads(runner.invoke(args=["doctor", "--json"]).stdout)["findings"]
    assert [each["verdict"] for each in found if each["name"] == "rollups"] == ["warning"]


def test_readiness_shows_no_address_of_a_server(with_environment, client, runner):
    with_environment(DATABASE_URL=f"postgresql://nobody@{AWAY}/none", REDIS_URL=f"redis://{AWAY}/0")
    assert "127.0.0.1" not in client.get("/health/ready").text
    assert "127.0.0.1" in runner.invoke(args=["status"]).output


def test_requests_that_hold_all_connections_are_no_outage_of_postgres(with_environment, app, client):
    with_environment(DB_POOL_SIZE="2")
    pool = app.extensions["resources"].database
    held = [pool.getconn(timeout=5) for _ in range(2)]
    try:
        answer = client.get("/health/ready")
    finally:
        for connection in held:
            pool.putconn(connection)
    assert answer.status_code == 200, answer.json
    assert answer.json["checks"]["postgres"]["ok"]
    assert "All connections of a web process are in use" in answer.json["warnings"]["connections"][0]
    assert "connections" not in client.get("/health/ready").json["warnings"]


def test_a_diverged_stream_is_named(with_environment, named, database):
    database.execute("insert into ingest_positions (shard, entry_id, previous_entry_id) values (1, '2000-0', '1000-0')")
    expect(named, "stream", "Diverged from the stored positions: shards 1")
