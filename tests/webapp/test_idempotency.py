"""What Redis keeps of requests with an Idempotency-Key is small, and bounded for each API key."""

import uuid

import pytest

from tests.factories import ago, meter, post_with_key, vehicle

MOST_BYTES = 500  # docs/deployment.md counts 350; here the keys have the most characters


@pytest.mark.slow
def test_a_token_does_not_hold_the_errors_of_its_answer(client, broker, drain_all):
    rows = [meter("M001"), *[{"meterId": "?", "voltage": "high"} for _ in range(100)]]
    headers = [{"Idempotency-Key": uuid.uuid4().hex * 4} for _ in range(200)]
    client.post("/v1/telemetry", json=rows, headers={"Idempotency-Key": "before"})
    drain_all()
    before = broker.info("memory")["used_memory"]
    answers = [client.post("/v1/telemetry", json=rows, headers=header) for header in headers]
    assert all((answer.status_code, len(answer.json["errors"])) == (202, 100) for answer in answers)
    drain_all()
    assert (broker.info("memory")["used_memory"] - before) / len(headers) < MOST_BYTES + 200  # and noise of clients
    tokens = list(broker.scan_iter("telemetry:*:token:key:*"))
    assert len(tokens) == len(headers) + 1
    assert max(map(broker.memory_usage, tokens)) < MOST_BYTES
    again = client.post("/v1/telemetry", json=rows, headers=headers[0])
    assert again.headers["Idempotent-Replay"] == "true"
    assert (again.status_code, again.json) == (answers[0].status_code, answers[0].json)


def test_a_repeat_is_answered_with_the_counts_of_the_first_request(client, with_settings, drain_all):
    """Although a reading that was ahead of the clock no longer is."""
    rows, headers = [meter(), vehicle(at=ago(seconds=-30))], {"Idempotency-Key": "a"}
    with_settings(max_clock_skew_seconds=0)
    first = client.post("/v1/telemetry", json=rows, headers=headers)
    assert (first.json["accepted"], first.json["rejected"]) == (1, 1)
    with_settings(max_clock_skew_seconds=60)
    again = client.post("/v1/telemetry", json=rows, headers=headers)
    assert again.headers["Idempotent-Replay"] == "true"
    assert again.json == {name: value for name, value in first.json.items() if name != "errors"}
    drain_all()


def test_the_first_answer_that_an_older_version_kept_is_read(client, broker, drain_all):
    rows, headers = [meter(at=ago(minutes=1)), {}], {"Idempotency-Key": "a"}
    first = client.post("/v1/telemetry", json=rows, headers=headers)
    (token,) = broker.scan_iter("telemetry:*:token:key:*")
    kept = broker.get(token).replace(b'"rejected":1', b'"rejected":1,"errors":[{"index":1,"errors":{"a":["b"]}}]')
    broker.set(token, kept)
    again = client.post("/v1/telemetry", json=rows, headers=headers)
    assert again.json == first.json | {"errors": [{"index": 1, "errors": {"a": ["b"]}}]}
    drain_all()


@pytest.mark.parametrize("readings_per_second", [None, 1000.0])
def test_the_idempotency_keys_of_an_api_key_are_bounded(
    client, new_key, with_settings, refresh, drain_all, readings_per_second
):
    key, other = new_key("ingest", readings_per_second=readings_per_second), new_key("ingest")
    with_settings(auth="required", idempotency_max_keys=3, idempotency_ttl_seconds=3_600)

    reading = meter(at=ago(minutes=1))

    def post(name, sender=key):
        return post_with_key(client, sender, reading, headers={"Idempotency-Key": name})

    assert [post(name).status_code for name in "abc"] == [202] * 3
    refused = post("d")
    assert refused.status_code == 429
    assert 1100 < int(refused.headers["Retry-After"]) <= 1200
    assert "Idempotency-Keys" in refused.json["message"]
    assert post("a").headers["Idempotent-Replay"] == "true"
    assert post_with_key(client, key).status_code == 202  # without the header
    assert post("d", other).status_code == 202
    drain_all()
