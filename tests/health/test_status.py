"""`energy status`: the engine's figures, for people and for programs. Faults of servers: test_health.py."""

import json
import os
import signal
import subprocess
import sys

import pytest

from models.health.snapshot import take_detailed_snapshot
from models.health.status import collect_figures
from tests import ROOT
from tests.factories import ago, meter, vehicle

pytestmark = pytest.mark.slow

STATUS = [sys.executable, "-m", "webapp.commands", "status"]


def figures_of(runner) -> dict:
    return json.loads(runner.invoke(args=["status", "--json"]).stdout)


def total(found: dict, figure: str) -> float:
    return sum(shard[figure] for shard in found["shards"])


def test_rates_backlog_devices_and_sizes(runner, client, alive, drain_all):
    for number in range(6):
        client.post("/v1/telemetry", json=[meter(f"M{number}"), vehicle(f"V{number}", at=ago(hours=1))])
    waiting = figures_of(runner)
    assert total(waiting, "backlog") == 6
    assert total(waiting, "entriesPerSecond") == pytest.approx(6 / 60, abs=0.11)
    assert waiting["readingsStoredPerSecond"] == 0
    drain_all()
    stored = figures_of(runner)
    assert stored["status"] == "ready"
    assert total(stored, "backlog") == 0
    assert total(stored, "readingsStoredPerSecond") == pytest.approx(12 / 60, abs=0.11)
    assert total(stored, "entriesPerSecond") == pytest.approx(6 / 60, abs=0.11)
    assert stored["devices"] == {
        "meter": {"online": 6, "offline": 0, "new": 6},
        "vehicle": {"online": 0, "offline": 6, "new": 6},
    }
    (worker,) = stored["workers"]
    assert worker["name"] == "celery@test/1"
    assert worker["lastSeenSecondsAgo"] < 60
    assert stored["partitions"]["daysAhead"] == 7
    assert stored["partitions"]["todayBytes"] > 0
    assert stored["postgres"]["bytes"] > stored["partitions"]["bytes"]
    assert stored["redis"]["maxBytes"] == 2 * 1024**3
    moved = [shard for shard in stored["shards"] if shard["movedAt"]]
    assert moved
    assert all(shard["failure"] is None for shard in stored["shards"])


def test_dead_letters_are_counted_until_they_are_replayed(runner, alive, database):
    letter = """insert into dead_letters (shard, entry_id, kind, entry_readings, reason, received_at, replayed_at)
                values (0, '1-1', 'entry', 1, 'test', now(), {})"""
    for replayed in ("null", "null", "now()"):
        database.execute(letter.format(replayed))
    assert figures_of(runner)["deadLetters"] == 2


def test_the_text_shows_the_same(runner, client, alive, drain_all):
    client.post("/v1/telemetry", json=[meter()])
    drain_all()
    done = runner.invoke(args=["status"])
    assert done.exit_code == 0
    assert done.output.startswith("ready  ")
    sentences = ("Every stream matches its stored position", "Partitions exist for 7 days ahead")
    for words in ("✓   drain", *sentences, "celery@test/1", "1 online, 0 offline"):
        assert words in done.output, words


def test_without_postgres_the_rest_is_shown(runner, alive, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    done = runner.invoke(args=["status"])
    assert done.exit_code == 1
    assert done.output.startswith("not ready  ")
    assert "Postgres does not answer: connection" in done.output  # with the error message
    assert "celery@test/1" in done.output
    found = figures_of(runner)
    assert (found["devices"], found["deadLetters"], found["partitions"], found["postgres"]) == (None,) * 4
    assert total(found, "backlog") == 0


def test_without_redis_the_rest_is_shown(runner, alive, monkeypatch, database):
    database.execute("insert into ingest_positions (shard, failure) values (1, 'DiskFull: [no] space left')")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    done = runner.invoke(args=["status"])
    assert done.exit_code == 1
    assert "DiskFull: [no] space left" in done.output
    found = figures_of(runner)
    assert (found["redis"], found["workers"], found["shards"][0]["backlog"]) == (None, None, None)
    assert found["partitions"]["daysAhead"] == 7


def test_writing_without_redis_counts_as_stored(resources, alive, client, with_settings):
    with_settings(redis_url="redis://127.0.0.1:1/0", ingest_fallback="direct")
    assert client.post("/v1/telemetry", json=[meter(f"M{n}") for n in range(120)]).status_code == 202
    figures = collect_figures(take_detailed_snapshot(resources.settings))
    assert figures.readings_stored_per_second == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("form", ["plain", "json"])
def test_watch_refreshes_until_ctrl_c(alive, form):
    command = [*STATUS, "--watch", "--interval", "0.2", *(["--json"] if form == "json" else [])]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, text=True) as watching:
        seen = 0
        for line in watching.stdout:
            is_one = json.loads(line)["status"] == "ready" if form == "json" else line.startswith("ready  ")
            seen += is_one
            if seen == 3:
                watching.send_signal(signal.SIGINT)
                break
        watching.stdout.read()
    assert (seen, watching.returncode) == (3, 0)
