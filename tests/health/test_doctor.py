"""`energy doctor`: what was found, why it matters and the remedy. Faults of servers: test_health.py."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from models.health import remedies
from models.health.checks import Verdict
from models.health.doctor import examine, is_healthy
from models.health.snapshot import Snapshot, take_snapshot
from tests import ROOT
from tests.rollups import start_watermark

DOCUMENT = (ROOT / "docs/doctor.md").read_text()


@pytest.fixture
def snapshot(resources, alive, database) -> Snapshot:
    start_watermark(database, datetime.now(UTC))
    return take_snapshot(resources)


def examined(snapshot: Snapshot, debug: bool = False, **settings) -> dict[str, tuple[str, str]]:
    """Verdict and detail by name."""
    snapshot = replace(snapshot, settings=replace(snapshot.settings, **settings))
    return {f.name: (f.check.verdict, f.check.detail) for f in examine(snapshot, debug=debug)}


def test_a_healthy_engine_has_one_warning_here_and_strict_minds_it(snapshot, runner, alive):
    findings = examine(snapshot, debug=False)
    # The tests run without keys, on a machine of their own.
    assert {f.name for f in findings if f.check.verdict is not Verdict.GOOD} == {"auth"}
    assert is_healthy(findings, strict=False)
    assert not is_healthy(findings, strict=True)
    assert runner.invoke(args=["doctor"]).exit_code == 0
    assert runner.invoke(args=["doctor", "--strict"]).exit_code == 1


def test_each_finding_has_a_reason_and_a_remedy(runner, alive):
    findings = json.loads(runner.invoke(args=["doctor", "--json"]).stdout)["findings"]
    assert {finding["name"] for finding in findings} == set(remedies.REMEDIES) - {"durability"}
    assert all(finding["found"] and finding["why"] and finding["remedy"] for finding in findings)
    printed = runner.invoke(args=["doctor"]).output
    assert "remedy: set AUTH=required" in printed
    for finding in findings:
        assert finding["name"] in printed


def test_each_check_is_documented():
    for name in remedies.REMEDIES.keys() - {"durability"}:
        assert f"| {name} |" in DOCUMENT, name


@pytest.mark.parametrize(
    ("found", "verdict"),
    [("always", "good"), ("everysec", "warning"), ("no", "wrong"), (None, "unknown")],
)
def test_appendfsync_is_judged_by_what_it_costs(snapshot, found, verdict):
    assert examined(replace(snapshot, redis=replace(snapshot.redis, appendfsync=found)))["appendfsync"][0] == verdict


@pytest.mark.parametrize(
    ("name", "info", "verdict"),
    [
        ("append-only file", {"aof_last_write_status": "err"}, "wrong"),
        ("append-only file", {"aof_last_bgrewrite_status": "err"}, "warning"),
        ("maxmemory", {"maxmemory": 0}, "warning"),
        ("maxmemory", {"used_memory": 81, "maxmemory": 100}, "warning"),
        ("maxmemory", {"used_memory": 91, "maxmemory": 100}, "wrong"),
        ("maxmemory-policy", {"maxmemory_policy": "volatile-ttl"}, "wrong"),
        ("redis version", {"redis_version": "6.0.16"}, "wrong"),
        ("redis version", {"redis_version": "10.1.0"}, "good"),
        ("redis", {"role": "slave"}, "wrong"),
    ],
)
def test_redis_is_judged_by_its_info(snapshot, name, info, verdict):
    changed = replace(snapshot.redis, info=snapshot.redis.info | info)
    assert examined(replace(snapshot, redis=changed))[name][0] == verdict


@pytest.mark.parametrize(
    ("name", "values", "verdict"),
    [
        ("postgres version", {"version": 140012}, "wrong"),
        ("postgres", {"is_standby": True}, "wrong"),
        ("time zone", {"session_time_zone": "Europe/Berlin"}, "wrong"),
        ("partitions", {"days_ahead": 3}, "warning"),
        ("clocks", {"ahead_seconds": 1.5}, "warning"),
        ("clocks", {"ahead_seconds": -6.0}, "wrong"),
    ],
)
def test_postgres_is_judged_by_its_state(snapshot, name, values, verdict):
    assert examined(replace(snapshot, postgres=replace(snapshot.postgres, **values)))[name][0] == verdict


@pytest.mark.parametrize(("setting", "value"), [("full_page_writes", "off"), ("synchronous_commit", "off")])
def test_each_durable_setting_is_judged(snapshot, setting, value):
    settings = snapshot.postgres.settings | {setting: value}
    assert examined(replace(snapshot, postgres=replace(snapshot.postgres, settings=settings)))[setting][0] == "wrong"


def test_another_default_time_zone_is_a_warning(resources, alive, database):
    database.execute("alter database energy set timezone = 'Europe/Berlin'")
    try:
        verdict, found = examined(take_snapshot(resources))["time zone"]
        assert verdict == "warning"
        assert "Europe/Berlin" in found
    finally:
        database.execute("alter database energy reset timezone")


def test_commits_that_a_database_does_not_wait_for_are_found(resources, alive, database, runner):
    database.execute("alter database energy set synchronous_commit = off")
    try:
        findings = json.loads(runner.invoke(args=["doctor", "--json"]).stdout)["findings"]
        assert [f["name"] for f in findings if f["verdict"] == "wrong"] == ["synchronous_commit"]
    finally:
        database.execute("alter database energy reset synchronous_commit")


def test_keys_may_be_off_only_if_both_servers_are_local(snapshot):
    assert examined(snapshot, auth="required")["auth"][0] == "good"
    assert examined(snapshot, auth="off")["auth"][0] == "warning"
    assert examined(snapshot, auth="off", redis_url="redis://redis.example:6379/0")["auth"][0] == "wrong"


def test_the_debugger_is_found(resources, alive):
    assert examined(take_snapshot(resources), debug=True)["debug"] == ("wrong", "FLASK_DEBUG is on")
    done = subprocess.run(
        [sys.executable, "-m", "webapp.commands", "doctor", "--json"],
        cwd=ROOT, env=os.environ | {"FLASK_DEBUG": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert [f["name"] for f in json.loads(done.stdout)["findings"] if f["verdict"] == "wrong"] == ["debug"]


def test_entries_in_shards_beyond_the_configured_ones_are_a_warning(resources, alive, broker):
    broker.xadd("telemetry:{7}", {"v1": b""})
    verdict, found = examined(take_snapshot(resources))["shards"]
    assert verdict == "warning"
    assert "shard 7 with 1" in found
    broker.delete("telemetry:{7}")


def test_wrong_settings_are_named(runner, app, monkeypatch):
    monkeypatch.setenv("STREAM_SHARDS", "many")
    for command in ("doctor", "status"):
        done = runner.invoke(args=[command])
        assert done.exit_code == 1
        assert "STREAM_SHARDS" in done.output
