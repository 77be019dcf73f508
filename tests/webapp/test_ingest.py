"""The ingest paths of the application, on a real stream and a real database."""

import gzip
import json
import threading

import pytest

from models.readings import decode_entry
from tests.factories import ago, meter, vehicle
from webapp.ingest.views import PATHS


def entries(resources) -> list:
    """The entries in the stream, decoded."""
    from models.stream.entry_ids import EntryId

    found = []
    for shard in range(resources.stream.shards):
        found += [decode_entry(fields[b"v1"]) for _, fields in resources.stream.read_after(shard, EntryId(0, 0), 1000)]
    return found


@pytest.fixture(autouse=True)
def _drained(drain_all):
    """Drains what a test leaves in the stream."""
    yield
    drain_all()


@pytest.mark.parametrize(("path", "kind", "status"), PATHS)
def test_every_path_accepts_its_readings_with_its_status(client, drain_all, path, kind, status):
    rows = {"meter": [meter()], "vehicle": [vehicle()]}.get(kind and kind.name, [meter(), vehicle()])
    for body, accepted in ((rows, len(rows)), (rows[0], 1)):
        answer = client.post(path, json=body)
        assert answer.status_code == status
        assert answer.json["message"] == "Data ingested successfully"
        assert (answer.json["accepted"], answer.json["rejected"]) == (accepted, 0)
        drain_all()
        receipt = client.get(f"/v1/telemetry/receipts/{answer.json['receipt']}")
        assert receipt.json == {"receipt": answer.json["receipt"], "state": "stored", "deadLetters": 0}


def test_accepted_readings_reach_history_and_live(client, database, drain_all):
    at = ago(minutes=1)
    client.post("/v1/telemetry", json=[meter(at=at), vehicle(at=at)])
    drain_all()
    assert database.execute(
        "select meter_id, recorded_at, kwh_consumed_ac, voltage from meter_readings_history"
    ).fetchall() == [("M001", at, 1.5, 230.0)]
    assert database.execute(
        "select vehicle_id, recorded_at, kwh_delivered_dc, battery_temp, soc from vehicle_readings_live"
    ).fetchall() == [("V001", at, 1.2, 25.0, 50.0)]


def test_a_decimal_comes_back_as_it_was_sent(client, drain_all):
    client.post("/v1/telemetry", json=meter(kwhConsumedAc=0.123456789012345))
    drain_all()
    assert client.get("/v1/meters/M001").json["kwhConsumedAc"] == 0.123456789012345


def test_good_rows_of_a_batch_are_accepted_and_bad_ones_listed(client, resources):
    rows = [meter(), meter(voltage="high"), vehicle()]
    answer = client.post("/v1/telemetry", json=rows)
    assert answer.status_code == 202
    assert (answer.json["accepted"], answer.json["rejected"]) == (2, 1)
    assert answer.json["errors"] == [{"index": 1, "errors": {"voltage": ["Must be a JSON number."]}}]
    (entry,) = entries(resources)
    assert (len(entry.meters), len(entry.vehicles)) == (1, 1)


def test_only_the_first_hundred_errors_are_listed(client):
    answer = client.post("/v1/telemetry", json=[meter(), *([{}] * 150)])
    assert answer.json["rejected"] == 150
    assert len(answer.json["errors"]) == 100


def test_a_batch_without_a_good_row_is_refused(client, resources):
    answer = client.post("/v1/telemetry", json=[{}, 5, None])
    assert answer.status_code == 422
    assert [error["index"] for error in answer.json["errors"]] == [0, 1, 2]
    assert not entries(resources)


def test_an_atomic_batch_is_taken_whole_or_not_at_all(client, resources):
    answer = client.post("/v1/telemetry?atomic=true", json=[meter(), {}])
    assert answer.status_code == 422
    assert answer.json["errors"][0]["index"] == 1
    assert not entries(resources)
    assert client.post("/v1/telemetry?atomic=true", json=[meter(), meter("M002")]).status_code == 202


def test_a_refused_single_reading_names_its_fields(client):
    answer = client.post("/v1/telemetry/meter", json={"meterId": "M001"})
    assert answer.status_code == 422
    assert sorted(answer.json["errors"]) == ["kwhConsumedAc", "timestamp", "voltage"]


def test_ndjson_accepts_the_good_lines_and_lists_the_bad(client, resources):
    body = "\n".join([json.dumps(meter()), "{broken", "", json.dumps(vehicle())])
    answer = client.post("/v1/telemetry", data=body, content_type="application/x-ndjson")
    assert answer.status_code == 202
    assert (answer.json["accepted"], answer.json["rejected"]) == (2, 1)
    assert answer.json["errors"][0]["index"] == 1
    assert len(entries(resources)) == 1


def test_gzip_bodies_are_read(client):
    body = gzip.compress(json.dumps([meter()]).encode()) + gzip.compress(b" ")
    answer = client.post(
        "/v1/telemetry", data=body, content_type="application/json", headers={"Content-Encoding": "gzip"}
    )
    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (gzip.compress(b" " * 9_000_000), 413),
        (gzip.compress(json.dumps(meter()).encode())[:-9], 400),
        (b"not gzip", 400),
        (gzip.compress(json.dumps(meter()).encode()) + b"trailing", 400),
        (gzip.compress(b"") * 101, 400),
    ],
    ids=["bomb", "cut off", "no gzip", "something behind it", "too many members"],
)
def test_broken_or_swollen_gzip_is_refused(client, resources, body, status):
    answer = client.post(
        "/v1/telemetry", data=body, content_type="application/json", headers={"Content-Encoding": "gzip"}
    )
    assert answer.status_code == status
    assert not entries(resources)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"\xff\xfe{}", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"a":' * 100_000, "application/json", 400),
        (b"[]", "application/json", 422),
        (b"null", "application/json", 422),
        (b"5", "application/json", 422),
        (b"", "application/x-ndjson", 422),
        (b"{}", "text/plain", 415),
        (b"a=b", "application/x-www-form-urlencoded", 415),
        (b"{}", "multipart/form-data; boundary=x", 415),
        (b" " * (8 * 1024 * 1024 + 1), "application/json", 413),
    ],
)
def test_a_bad_body_gets_a_clear_error_and_nothing_is_taken(client, resources, body, content_type, status):
    answer = client.post("/v1/telemetry", data=body, content_type=content_type)
    assert answer.status_code == status
    assert {"statusCode", "path", "message", "timestamp", "requestId"} <= set(answer.json)
    assert answer.json["statusCode"] == status
    assert not entries(resources)


def test_a_request_with_too_many_readings_is_refused_whole(client, resources):
    assert client.post("/v1/telemetry", json=[meter()] * 10_001).status_code == 413
    assert client.post("/v1/telemetry", json=[{}] * 10_001).status_code == 413
    assert not entries(resources)
    assert client.post("/v1/telemetry", json=[meter()] * 10_000).status_code == 202


def test_another_content_encoding_is_refused(client):
    answer = client.post("/v1/telemetry", json=meter(), headers={"Content-Encoding": "br"})
    assert answer.status_code == 415


def test_a_request_without_a_media_type_is_read_as_json(client):
    assert client.post("/v1/telemetry", data=json.dumps(meter())).status_code == 202


# ── Idempotency ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_repeat_with_the_same_key_gets_the_first_answer_and_adds_nothing(client, resources):
    rows = [meter(), {}]
    headers = {"Idempotency-Key": "delivery-1"}
    first = client.post("/v1/ingest/meters", json=rows, headers=headers)
    again = client.post("/v1/ingest/meters", json=rows, headers=headers)
    assert "Idempotent-Replay" not in first.headers
    assert again.headers["Idempotent-Replay"] == "true"
    assert (again.status_code, again.json) == (first.status_code, first.json)
    assert len(entries(resources)) == 1


def test_a_key_used_with_another_body_is_refused(client, resources):
    headers = {"Idempotency-Key": "delivery-2"}
    at = ago(minutes=1)
    client.post("/v1/telemetry", json=meter(at=at), headers=headers)
    answer = client.post("/v1/telemetry", json=meter(at=at, voltage=231), headers=headers)
    assert answer.status_code == 422
    assert list(answer.json["errors"]) == ["Idempotency-Key"]
    assert len(entries(resources)) == 1


@pytest.mark.parametrize("key", ["", "x" * 129])
def test_the_length_of_an_idempotency_key_is_bounded(client, key):
    answer = client.post("/v1/telemetry", json=meter(), headers={"Idempotency-Key": key})
    assert answer.status_code == 422


def test_fifty_simultaneous_requests_with_one_key_make_one_entry_and_fifty_equal_answers(app, resources):
    body = json.dumps([meter(), vehicle()])
    answers = []
    start = threading.Barrier(50)

    def send():
        start.wait()
        answer = app.test_client().post(
            "/v1/telemetry", data=body, content_type="application/json", headers={"Idempotency-Key": "crowd"}
        )
        answers.append((answer.status_code, answer.data))

    threads = [threading.Thread(target=send) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 50
    assert len(set(answers)) == 1
    assert answers[0][0] == 202
    assert len(entries(resources)) == 1


# ── Receipts ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_receipt_is_pending_until_its_entry_is_stored(client, drain_all):
    receipt = client.post("/v1/telemetry", json=meter()).json["receipt"]
    assert client.get(f"/v1/telemetry/receipts/{receipt}").json["state"] == "pending"
    drain_all()
    assert client.get(f"/v1/telemetry/receipts/{receipt}").json["state"] == "stored"


def test_a_receipt_that_was_never_given_is_not_found(client, drain_all):
    given = client.post("/v1/telemetry", json=meter()).json["receipt"]
    shard, ms, sequence = given.split("-")
    forged = [
        f"{1 - int(shard)}-{ms}-{sequence}",
        f"{shard}-{int(ms) - 1}-{sequence}",
        f"{shard}-{ms}-{int(sequence) + 1}",
        f"{shard}-{int(ms) + 10_000}-0",
        "99-1-0",
        "0-99999999999999999999-0",
        "nonsense",
        "%00",
    ]
    for _ in range(2):
        for receipt in forged:
            answer = client.get(f"/v1/telemetry/receipts/{receipt}")
            assert (receipt, answer.status_code) == (receipt, 404)
            assert answer.json["message"] == "Receipt not found"
        drain_all()


# ── Refusals ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_full_backlog_answers_503_and_takes_nothing(client, with_settings, resources):
    with_settings(stream_max_entries=4)
    statuses = [client.post("/v1/telemetry", json=meter()).status_code for _ in range(6)]
    assert statuses == [202] * 4 + [503] * 2
    answer = client.post("/v1/telemetry", json=meter())
    assert int(answer.headers["Retry-After"]) > 0
    assert len(entries(resources)) == 4


def test_a_redis_out_of_memory_answers_503_and_takes_nothing(client, resources, broker):
    before = broker.config_get("maxmemory")["maxmemory"]
    broker.config_set("maxmemory", 1)
    try:
        answer = client.post("/v1/telemetry", json=meter())
        assert answer.status_code == 503
        assert "Retry-After" in answer.headers
    finally:
        broker.config_set("maxmemory", before)
    assert not entries(resources)
    assert client.post("/v1/telemetry", json=meter()).status_code == 202


def test_a_redis_out_of_memory_is_still_drained(client, resources, broker, drain_all, database):
    client.post("/v1/telemetry", json=meter())
    before = broker.config_get("maxmemory")["maxmemory"]
    broker.config_set("maxmemory", 1)
    try:
        drain_all()
        assert database.execute("select count(*) from meter_readings_history").fetchone()[0] == 1
    finally:
        broker.config_set("maxmemory", before)


def test_a_bell_that_cannot_be_rung_does_not_fail_the_request(client, resources, monkeypatch):
    import redis

    def refuse(*_args, **_kwargs):
        raise redis.ResponseError("OOM command not allowed when used memory > 'maxmemory'")

    monkeypatch.setattr("workers.doorbell.app.send_task", refuse)
    assert client.post("/v1/telemetry", json=meter()).status_code == 202


def test_an_unavailable_redis_is_answered_503(client, with_settings):
    with_settings(redis_url="redis://127.0.0.1:1/0")
    answer = client.post("/v1/telemetry", json=meter())
    assert answer.status_code == 503
    assert "nothing was accepted" in answer.json["message"]
