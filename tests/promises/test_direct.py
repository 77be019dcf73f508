"""Without Redis a request is stored directly in Postgres, by the same batch writer, each reading once."""

from dataclasses import replace

import pytest

from models.readings import to_microseconds
from models.resources import Resources
from models.storage import direct
from models.stream.telemetry import TelemetryStream
from tests.factories import ago, meter, vehicle


@pytest.fixture
def redis_unavailable(app):
    """Redis can't be reached, and the fallback is on."""
    before = app.extensions["resources"]
    settings = replace(before.settings, redis_url="redis://127.0.0.1:1/0", ingest_fallback="direct")
    app.extensions["resources"] = Resources(settings, before.database, TelemetryStream(settings))
    yield
    app.extensions["resources"] = before


def test_without_redis_a_request_is_stored_directly(client, database, redis_unavailable):
    answer = client.post("/v1/telemetry", json=[meter(), vehicle(), {}])
    assert (answer.status_code, answer.json["accepted"], answer.json["rejected"]) == (202, 2, 1)
    assert database.execute("select count(*) from meter_readings_history").fetchone()[0] == 1
    assert client.get("/v1/vehicles/V001").json["soc"] == 50
    receipt = answer.json["receipt"]
    assert client.get(f"/v1/telemetry/receipts/{receipt}").json["state"] == "stored"
    assert client.get(f"/v1/telemetry/receipts/{receipt[:-1]}999").status_code == 503  # Redis may have it


def test_a_request_with_a_key_is_refused_without_redis(client, database, redis_unavailable):
    answer = client.post("/v1/telemetry", json=meter(), headers={"Idempotency-Key": "k"})
    assert answer.status_code == 503
    assert database.execute("select count(*) from meter_readings_history").fetchone()[0] == 0


def test_the_direct_writers_are_bounded(client, database, redis_unavailable):
    for _ in range(direct.DIRECT_WRITERS):
        assert direct._writers.acquire(blocking=False)
    try:
        assert client.post("/v1/telemetry", json=meter()).status_code == 503
    finally:
        for _ in range(direct.DIRECT_WRITERS):
            direct._writers.release()
    assert client.post("/v1/telemetry", json=meter()).status_code == 202
    assert database.execute("select count(*) from meter_readings_history").fetchone()[0] == 1


def test_a_refused_row_is_dead_lettered_in_this_mode_too(client, database, redis_unavailable):
    database.execute("alter table meter_readings_history add constraint poison check (voltage <> 999.5)")
    try:
        answer = client.post("/v1/telemetry", json=[meter("M1"), meter("M2", voltage=999.5)])
        state = client.get(f"/v1/telemetry/receipts/{answer.json['receipt']}").json
        assert (state["state"], state["deadLetters"]) == ("partly-dead-lettered", 1)
    finally:
        database.execute("alter table meter_readings_history drop constraint poison")


def test_the_fallback_is_off_by_default(client, with_settings):
    with_settings(redis_url="redis://127.0.0.1:1/0")
    assert client.post("/v1/telemetry", json=meter()).status_code == 503


def test_a_correction_counts_however_the_clock_of_postgres_is_set(client, database, redis_unavailable):
    at, ahead = ago(minutes=1), to_microseconds(ago(hours=-1))
    client.post("/v1/telemetry", json=[meter(at=at, kwhConsumedAc=9) for _ in range(1000)])
    client.post("/v1/telemetry", json=meter(at=at, kwhConsumedAc=8))
    assert client.get("/v1/meters/M001").json["kwhConsumedAc"] == 8
    database.execute("select setval('direct_entries', %s)", [ahead])
    for value in range(8):
        assert client.post("/v1/telemetry", json=meter(at=at, kwhConsumedAc=value)).status_code == 202
        assert client.get("/v1/meters/M001").json["kwhConsumedAc"] == value
    assert database.execute("select count(distinct received_at) from meter_readings_history").fetchone()[0] == 1009
    database.execute("select setval('direct_entries', 0)")
