"""The states of docs/doctor.md: readiness and doctor name the cause and the remedy of each."""

import json
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests import ROOT
from tests.health import states
from tests.health.states import World, produced

pytestmark = pytest.mark.slow

DOCUMENT = (ROOT / "docs/doctor.md").read_text().split("## States")[-1]


class State(NamedTuple):
    """`ready`: whether /health/ready is 200, with the check as a warning. `doctor` names another check there."""

    produce: Callable[[World], Iterator[None]]
    name: str  # in docs/doctor.md
    ready: bool
    check: str
    cause: str
    remedy: str
    doctor: str = ""


STATES = [
    State(
        states.read_only, "database read-only", False, "postgres", "read-only", "reset default_transaction_read_only"
    ),
    State(
        states.disk_full, "disk of Postgres full", False, "drain", "disk of Postgres is full", "make room on the disk"
    ),
    State(states.live_table_locked, "table locked", False, "drain", "blocked by session", "pg_terminate_backend("),
    State(states.positions_locked, "rows locked", False, "drain", "idle in transaction", "pg_terminate_backend("),
    State(states.partition_locked, "partition locked", False, "drain", "blocked by session", "pg_terminate_backend("),
    State(states.long_idle_transaction, "long transaction", True, "transactions", "report.py", "pg_terminate_backend("),
    State(states.no_partition, "today's partition gone", False, "partitions", "for today", "partitions ensure"),
    State(
        states.no_connection_left,
        "max_connections used up",
        True,
        "connections",
        "in use",
        "max_connections",
        "postgres",
    ),
    State(
        states.slot_forgotten, "replication slot forgotten", True, "slots", "`replica_2`", "pg_drop_replication_slot"
    ),
    State(states.schema_behind, "schema behind", False, "migrations", "behind", "alembic upgrade head"),
    State(states.schema_unknown, "schema unknown", True, "migrations", "no revision of this product", "alembic"),
    State(
        states.live_table_missing, "table missing", False, "migrations", "lacks meter_readings_live", "from a backup"
    ),
    State(states.rollups_held, "roll-ups held", True, "rollups", "has not moved", "rollups status"),
    State(states.redis_memory_full, "maxmemory reached", False, "backlog", "out of memory", "maxmemory"),
    State(states.redis_clients_full, "maxclients used up", False, "redis", "no connection left", "maxclients"),
    State(states.appendfsync_no, "appendfsync no", False, "durability", "appendfsync is no", "doctor", "appendfsync"),
    State(states.appendonly_no, "appendonly no", False, "durability", "appendonly is off", "doctor", "appendonly"),
    State(states.flushed, "Redis flushed", False, "stream", "Diverged", "next drain repairs it"),
    State(states.streams_deleted, "stream deleted", False, "stream", "Diverged", "next drain repairs it"),
    State(states.garbage_in_the_broker, "garbage in the broker", False, "broker", "`drain`", "redis-cli del"),
    State(states.beat_frozen, "beat frozen", False, "beat", "Beat was last seen", "start it"),
    State(states.workers_frozen, "workers frozen", False, "workers", "No worker was seen", "start or restart"),
]


@pytest.fixture
def world(client, broker, database, resources, alive, monkeypatch) -> Iterator[World]:
    monkeypatch.setattr("models.health.postgres_activity.IDLE_SECONDS", 0)
    yield World(client, broker, database, resources)
    resources.database.check()
    broker.delete("telemetry:{0}", "telemetry:{1}")


def test_each_state_is_documented():
    rows = [line for line in DOCUMENT.splitlines() if line.startswith("| ")][1:]
    documented = [" | ".join(row.split(" | ")[:3]) for row in rows]
    doctors = [f" (doctor: `{state.doctor}`)" if state.doctor else "" for state in STATES]
    expected = [
        f"| {state.name} | {200 if state.ready else 503} | `{state.check}`{doctor}"
        for state, doctor in zip(STATES, doctors, strict=True)
    ]
    assert documented == expected


def wait_for_check(client, state: State):
    """The answer of readiness that names the check. A pool may first have to replace sessions that were ended."""
    for _ in range(20):
        answer = client.get("/health/ready")
        named = answer.json["warnings"] if state.ready else answer.json.get("errors", {})
        if state.cause in str(named.get(state.check)):
            break
        time.sleep(0.1)
    return answer


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_readiness_and_doctor_name_cause_and_remedy(state, world, client, runner):
    with produced(state.produce, world):
        answer = wait_for_check(client, state)
        assert answer.status_code == (200 if state.ready else 503), answer.json
        (found,) = answer.json["warnings" if state.ready else "errors"][state.check]
        cause, remedy = found.split(". Remedy: ")
        assert state.cause in cause, found
        assert state.remedy in remedy, found

        findings = json.loads(runner.invoke(args=["doctor", "--json"]).stdout)["findings"]
        (finding,) = [finding for finding in findings if finding["name"] == (state.doctor or state.check)]
        assert finding["verdict"] == ("warning" if state.ready and not state.doctor else "wrong"), finding
        if not state.doctor:
            assert state.cause in finding["found"], finding
            assert state.remedy in finding["remedy"], finding


def test_sessions_that_began_while_the_database_was_read_only_are_replaced(world, client):
    def register() -> int:
        return client.post("/v1/analytics/vehicle-mapping", json={"vehicleId": "V", "meterId": "M"}).status_code

    with produced(states.read_only, world):
        assert register() == 503
    deadline = time.monotonic() + 10
    while register() != 201 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert register() in (200, 201)
    assert client.get("/health/ready").status_code == 200
