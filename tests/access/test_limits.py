"""Limits of readings and of requests: exact, whatever the number and the timing of the requests."""

import json
import threading
from datetime import timedelta

import pytest
import redis

from models.access.keys import rotate_key, split_key
from models.access.limits import Allowance, Charge, Limit, LimitReached, RequestLimits
from models.stream.admission import Conditions
from models.stream.telemetry import TelemetryStream
from tests.factories import bearer, meter, post_with_key

# So slow that nothing refills while a test runs.
SLOW = 0.001


@pytest.fixture(autouse=True)
def _drained(drain_all):
    yield
    drain_all()


def readings(count: int) -> list[dict]:
    return [meter(f"M{number}") for number in range(count)]


def rate_limit_headers(answer) -> tuple[str, ...]:
    return tuple(answer.headers.get(f"RateLimit-{name}") for name in ("Limit", "Remaining", "Reset"))


def test_readings_are_counted_one_by_one_over_several_requests(client, new_key):
    text = new_key("ingest", readings_per_second=SLOW, readings_burst=10)
    remaining = []
    for count in (3, 3, 3, 1):
        answer = post_with_key(client, text, readings(count))
        assert answer.status_code == 202
        remaining.append(rate_limit_headers(answer)[:2])
    assert remaining == [("10", "7"), ("10", "4"), ("10", "1"), ("10", "0")]
    refused = post_with_key(client, text, meter())
    assert (refused.status_code, refused.json["statusCode"]) == (429, 429)
    assert rate_limit_headers(refused)[:2] == ("10", "0")
    assert 1 <= int(refused.headers["Retry-After"]) <= 1001
    assert int(refused.headers["RateLimit-Reset"]) > 9000


def test_a_batch_above_the_burst_overdraws_a_full_allowance_and_delays_the_next(client, new_key):
    text = new_key("ingest", readings_per_second=1.0, readings_burst=10)
    answer = post_with_key(client, text, readings(100))
    assert (answer.status_code, rate_limit_headers(answer)[:2]) == (202, ("10", "0"))
    refused = post_with_key(client, text, meter())
    assert refused.status_code == 429
    assert 50 < int(refused.headers["Retry-After"]) <= 91


def test_a_batch_above_ten_bursts_is_refused_so_that_nobody_locks_a_key_out_for_hours(client, new_key, with_settings):
    text = new_key("ingest", readings_per_second=1.0, readings_burst=10)
    answer = post_with_key(client, text, readings(101))
    assert answer.status_code == 413
    assert answer.json["message"] == "A request may have at most 100 readings; this one has 101"
    assert post_with_key(client, text, readings(90)).status_code in (202, 429)
    with_settings(auth="required", max_batch_bursts=2)
    one, two = (new_key("ingest", readings_per_second=1.0, readings_burst=10) for _ in range(2))
    with_settings(auth="required", max_batch_bursts=2)
    assert post_with_key(client, one, readings(21)).status_code == 413
    assert post_with_key(client, two, readings(20)).status_code == 202
    assert post_with_key(client, new_key("ingest"), readings(101)).status_code == 202


def test_refused_readings_are_counted(client, new_key):
    text = new_key("ingest", readings_per_second=SLOW, readings_burst=10)
    assert rate_limit_headers(post_with_key(client, text, [meter(), {}, {}]))[1] == "7"
    assert post_with_key(client, text, [{}] * 3).status_code == 422
    assert rate_limit_headers(post_with_key(client, text, meter()))[1] == "3"


@pytest.mark.parametrize(
    ("body", "status", "readings"),
    [
        (b"{}", 422, 1),
        (b"[]", 422, 1),
        (b"not JSON", 400, 1),
        (b"[" * 2000, 400, 21),
        (b"[" + b"0," * 20_000 + b"0]", 413, 100),
        (b"x" * 9_000_000, 413, 100),
        (json.dumps([{}] * 900).encode(), 422, 100),
    ],
    ids=["one bad", "empty", "malformed", "nested", "too many", "too large", "all bad"],
)
def test_a_refused_request_is_charged_at_most_a_full_allowance(client, new_key, body, status, readings):
    text = new_key("ingest", readings_per_second=SLOW, readings_burst=100)
    assert client.post("/v1/telemetry", data=body, headers=bearer(text)).status_code == status
    answer = post_with_key(client, text)
    if readings == 100:
        assert answer.status_code == 429
        assert 900 < int(answer.headers["Retry-After"]) <= 1000, "one reading is left after 1,000 seconds"
    else:
        assert rate_limit_headers(answer)[:2] == ("100", str(100 - readings - 1))


def test_a_token_that_is_used_for_another_request_is_charged(client, new_key):
    text, named = new_key("ingest", readings_per_second=SLOW, readings_burst=10), {"Idempotency-Key": "one"}
    assert post_with_key(client, text, meter("M1"), headers=named).status_code == 202
    assert post_with_key(client, text, readings(4), headers=named).status_code == 422
    assert rate_limit_headers(post_with_key(client, text))[1] == "4"


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "one"}, {"Idempotency-Key": "two"}])
def test_a_used_up_allowance_refuses_before_the_body_is_decoded(client, new_key, monkeypatch, headers):
    text = new_key("ingest", readings_per_second=SLOW, readings_burst=1)
    assert post_with_key(client, text, meter(), headers={"Idempotency-Key": "one"}).status_code == 202
    monkeypatch.setattr("webapp.ingest.views.decode", lambda *_, **__: 1 / 0)
    refused = post_with_key(client, text, readings(3), headers=headers)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 900


def test_a_process_looks_at_a_used_up_allowance_again(client, new_key, broker, monkeypatch):
    text = new_key("ingest", readings_per_second=SLOW, readings_burst=1)
    assert [post_with_key(client, text).status_code for _ in range(2)] == [202, 429]
    broker.delete(*broker.keys("telemetry:*:allowance:*"))
    assert post_with_key(client, text).status_code == 429
    monkeypatch.setattr("models.access.limits.RECHECK_SECONDS", 0)
    assert post_with_key(client, text).status_code == 202


def test_a_replay_costs_nothing_and_is_answered_with_the_allowance_used_up(client, new_key):
    text = new_key("ingest", readings_per_second=SLOW, readings_burst=2)
    rows, named = readings(2), {"Idempotency-Key": "one"}
    first = post_with_key(client, text, rows, headers=named)
    assert post_with_key(client, text, meter()).status_code == 429
    again = post_with_key(client, text, rows, headers=named)
    assert (again.status_code, again.headers["Idempotent-Replay"], again.json) == (202, "true", first.json)
    assert rate_limit_headers(again)[:2] == ("2", "0")


def test_a_refused_request_can_be_repeated_under_its_idempotency_key(client, new_key, broker, monkeypatch):
    text = new_key("ingest", readings_per_second=SLOW, readings_burst=1)
    post_with_key(client, text, meter())
    named = {"Idempotency-Key": "later"}
    assert post_with_key(client, text, meter(), headers=named).status_code == 429
    monkeypatch.setattr("models.access.limits.RECHECK_SECONDS", 0)
    broker.delete(*broker.keys("telemetry:*:allowance:*"))
    answer = post_with_key(client, text, meter(), headers=named)
    assert answer.status_code == 202
    assert "Idempotent-Replay" not in answer.headers


def test_the_limit_is_exact_under_concurrency(app, new_key):
    text = new_key("ingest", readings_per_second=SLOW, readings_burst=30)
    statuses, start = [], threading.Barrier(20)

    def send() -> None:
        client = app.test_client()
        start.wait()
        for _ in range(3):
            statuses.append(post_with_key(client, text, meter()).status_code)

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statuses.count(202), statuses.count(429)) == (30, 30)


def test_a_limit_is_the_keys_own_and_shared_with_the_key_that_replaces_it(client, new_key, database, refresh):
    one, two, free = (
        new_key("ingest", readings_per_second=SLOW, readings_burst=2),
        new_key("ingest", readings_per_second=SLOW, readings_burst=2),
        new_key("ingest"),
    )
    assert [post_with_key(client, one).status_code for _ in range(3)] == [202, 202, 429]
    assert [post_with_key(client, two).status_code for _ in range(2)] == [202, 202]
    replacement = rotate_key(database, split_key(one)[0], overlap=timedelta(hours=1))
    refresh()
    assert post_with_key(client, replacement).status_code == 429
    unlimited = post_with_key(client, free)
    assert (unlimited.status_code, rate_limit_headers(unlimited)) == (202, (None, None, None))


def test_a_key_without_a_burst_may_bring_a_minutes_readings_at_once(client, new_key):
    assert rate_limit_headers(post_with_key(client, new_key("ingest", readings_per_second=2.0)))[0] == "120"


# ── The allowance ────────────────────────────────────────────────────────────────────────────────────────────


def test_an_allowance_refills_with_time(resources, broker):
    """By Redis's clock: the stored time is moved back by some seconds."""
    stream = TelemetryStream(resources.settings)
    limit = Limit(per_second=2.0, burst=10)
    charge = Charge("owner", limit, units=10)
    assert stream.append(b"x", "owner", Conditions(charge=charge)).allowance.remaining == 0
    with pytest.raises(LimitReached) as refused:
        stream.append(b"x", "owner", Conditions(charge=charge))
    assert refused.value.allowance.wait_seconds == 1
    key = "telemetry:{0}:allowance:owner"
    full_at = float(broker.get(key))
    assert 0 < broker.pttl(key) <= 5_001
    broker.set(key, full_at - 3_000)  # three seconds: six readings
    assert 6 <= 10 - (full_at - 3_000 - _now_ms(broker)) / 500 <= 10
    again = stream.append(b"x", "owner", Conditions(charge=Charge("owner", limit, units=1)))
    assert again.allowance.remaining >= 5
    stream.close()


def _now_ms(broker: redis.Redis) -> float:
    seconds, microseconds = broker.time()
    return seconds * 1000 + microseconds / 1000


def test_remaining_reset_and_wait_of_an_allowance():
    limit = Limit(per_second=10.0, burst=100)
    for deficit_ms, remaining, reset, wait in (
        (0, 100, 0, 1),
        (5_000, 50, 5, 1),
        (10_000, 0, 10, 1),
        (12_500, 0, 13, 3),
    ):
        allowance = Allowance(limit, deficit_ms)
        assert (allowance.remaining, allowance.full_in_seconds, allowance.wait_seconds) == (remaining, reset, wait)


def test_an_append_without_a_limit_touches_no_allowance(resources, broker):
    stream = TelemetryStream(resources.settings)
    stream.append(b"x", "owner")
    assert not broker.keys("*allowance*")
    stream.close()


# ── The read side ────────────────────────────────────────────────────────────────────────────────────────────


def test_requests_of_the_read_side_are_counted_by_key(client, new_key):
    text, other = new_key("read", requests_per_second=SLOW), new_key("read", requests_per_second=SLOW)
    first = client.get("/v1/vehicles", headers=bearer(text))
    assert (first.status_code, rate_limit_headers(first)[:2]) == (200, ("1", "0"))
    for path in ("/v1/meters", "/v1/analytics/performance/V1", "/metrics", "/v1/telemetry/receipts/0-1-0"):
        refused = client.get(path, headers=bearer(text))
        assert refused.status_code == 429, path
        assert int(refused.headers["Retry-After"]) >= 1
    assert client.get("/v1/vehicles", headers=bearer(other)).status_code == 200
    assert client.get("/health/live", headers=bearer(text)).status_code == 200


def test_the_setting_holds_for_keys_without_a_limit_of_their_own(client, new_key, with_settings):
    text, own = new_key("read"), new_key("read", requests_per_second=1000.0)
    with_settings(auth="required", read_requests_per_second=SLOW)
    assert [client.get("/v1/vehicles", headers=bearer(text)).status_code for _ in range(2)] == [200, 429]
    assert [client.get("/v1/vehicles", headers=bearer(own)).status_code for _ in range(2)] == [200, 200]


def test_posting_readings_takes_nothing_from_the_read_side(client, new_key):
    text = new_key("ingest", "read", requests_per_second=SLOW)
    assert [post_with_key(client, text).status_code for _ in range(3)] == [202] * 3
    assert client.get("/v1/vehicles", headers=bearer(text)).status_code == 200


def test_reads_pass_while_redis_is_unavailable(app, client, new_key, resources, monkeypatch):
    from dataclasses import replace

    unavailable = RequestLimits(replace(resources.settings, redis_url="redis://127.0.0.1:1/0"))
    monkeypatch.setitem(app.extensions, "request_limits", unavailable)
    text = new_key("read", requests_per_second=SLOW)
    assert [client.get("/v1/vehicles", headers=bearer(text)).status_code for _ in range(3)] == [200] * 3


def test_answers_about_limits_are_as_documented(client, new_key):
    document = client.get("/openapi.json").json
    headers = document["components"]["responses"]["429"]["headers"]
    text = new_key("ingest", readings_per_second=SLOW, readings_burst=1)
    accepted, refused = post_with_key(client, text), post_with_key(client, text)
    named = {"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"}
    described = document["paths"]["/v1/telemetry"]["post"]["responses"]
    assert named <= set(described["202"]["headers"])
    assert named < set(accepted.headers.keys())
    assert named | {"Retry-After"} <= set(headers)
    assert named | {"Retry-After"} <= set(refused.headers.keys())
    assert {"401", "403", "429", "503"} <= described.keys()
