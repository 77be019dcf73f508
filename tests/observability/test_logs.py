"""Logs: one event a line, in one format from every process."""

import json
import re

import pytest

from models.access.keys import Rights, create_key
from tests.factories import ago, meter, stamp
from tests.observability.log_output import serving, worker_prints

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def json_server(servers, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("logs"), LOG_FORMAT="json") as running:
        yield running


def test_a_request_is_one_line_with_its_outcome(json_server, resources, drain_all):
    answer = json_server.ask(
        "POST",
        "/v1/telemetry?atomic=false",
        json=[meter("M-private"), meter("M-private", voltage=-1)],
        headers={"X-Request-ID": "one-line"},
    )
    assert answer.status == 202
    (line,) = json_server.events_of("one-line")
    assert 0 <= line.pop("seconds") < 60
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("timestamp"))
    assert line == {
        "event": "request",
        "level": "info",
        "request_id": "one-line",
        "method": "POST",
        "route": "/v1/telemetry",
        "status": 202,
        "accepted": 1,
        "rejected": 1,
    }
    drain_all()


def test_the_line_has_the_route_and_the_path_only_of_an_error(json_server):
    json_server.ask("GET", "/v1/meters/M-nobody/series?bucket=1h", headers={"X-Request-ID": "refused"})
    (line,) = json_server.events_of("refused")
    assert (line["route"], line["status"]) == ("/v1/meters/<meter_id>/series", 404)
    assert line["path"] == "/v1/meters/M-nobody/series"
    json_server.ask("GET", f"/nowhere/{'x' * 5000}", headers={"X-Request-ID": "unmatched"})
    (line,) = json_server.events_of("unmatched")
    assert (line["route"], line["status"], len(line["path"])) == ("unmatched", 404, 200)
    json_server.ask("GET", "/v1/meters", headers={"X-Request-ID": "served"})
    assert "path" not in json_server.events_of("served")[0]


def test_the_line_has_the_id_of_the_key(servers, database, tmp_path):
    text = create_key(database, Rights("logged", ("read",)))
    with serving(tmp_path, AUTH="required") as guarded:
        guarded.ask("GET", "/v1/meters", headers={"X-Request-ID": "keyed", "X-API-Key": text})
        guarded.ask("GET", "/v1/meters", headers={"X-Request-ID": "keyless", "X-API-Key": text[:-1]})
        keyed, keyless = guarded.events_of("keyed")[0], guarded.events_of("keyless")[0]
        key_id = str(database.execute("select id from api_keys").fetchone()[0])
        assert (keyed["status"], keyed["key_id"]) == (200, key_id)
        assert keyless["status"] == 401
        assert "key_id" not in keyless
        secret = text.split("_", 2)[2]
        assert not [line for line in guarded.printed() if secret[:8] in line]


def test_a_repeat_adds_no_readings_to_the_log(json_server, resources, drain_all):
    reading, key = meter(), {"Idempotency-Key": "logged-once"}
    for name in ("first", "again"):
        json_server.ask("POST", "/v1/telemetry", json=reading, headers={"X-Request-ID": name, **key})
    assert [json_server.events_of(name)[0]["accepted"] for name in ("first", "again")] == [1, 0]
    drain_all()


def test_successful_requests_can_be_left_out(servers, tmp_path):
    with serving(tmp_path, LOG_REQUESTS="errors") as quiet:
        quiet.ask("GET", "/", headers={"X-Request-ID": "well"})
        quiet.ask("GET", "/nowhere", headers={"X-Request-ID": "badly"})
        assert [e["status"] for e in quiet.events() if e["event"] == "request"] == [404]


def test_every_answer_has_a_plain_request_id(json_server):
    assert json_server.ask("GET", "/", headers={"X-Request-ID": "depot-7.42"}).headers["X-Request-ID"] == "depot-7.42"
    for odd in ("x" * 129, "a b", "a;b", '{"a":1}'):
        given = json_server.ask("GET", "/", headers={"X-Request-ID": odd}).headers["X-Request-ID"]
        assert re.fullmatch("[0-9a-f]{32}", given)
        json_server.events_of(given)


def test_a_thread_does_not_keep_a_request_id(json_server):
    for number in range(40):  # more than there are threads
        json_server.ask("GET", "/", headers={"X-Request-ID": f"turn-{number}"})
    for number in range(40):
        assert len(json_server.events_of(f"turn-{number}")) == 1


def test_a_dead_letter_carries_the_request_id(json_server, resources, database, drain_all):
    database.execute("alter table meter_readings_history add constraint no_odd check (meter_id <> 'ODD') not valid")
    try:
        json_server.ask("POST", "/v1/telemetry", json=meter("ODD"), headers={"X-Request-ID": "to-the-dead-letter"})
        drain_all()
        assert database.execute("select request_id from dead_letters").fetchall() == [("to-the-dead-letter",)]
    finally:
        database.execute("alter table meter_readings_history drop constraint no_odd")


def test_granian_and_the_application_log_in_one_format(json_server):
    json_server.ask("GET", "/")
    events = json_server.events()  # each line is JSON
    assert {"_granian", None} <= {event.get("logger") for event in events}
    assert all({"timestamp", "level", "event"} <= event.keys() for event in events)


def test_celery_logs_in_the_same_format(resources):
    events = [json.loads(line) for line in worker_prints(until=" ready.", LOG_FORMAT="json")]
    assert any(event.get("logger", "").startswith("celery") for event in events)


def test_no_reading_is_logged(json_server, resources, drain_all):
    at = ago(minutes=7)
    json_server.ask("POST", "/v1/telemetry", json=meter("M-quiet", at))
    assert not [line for line in json_server.printed() if "M-quiet" in line or stamp(at) in line]
    drain_all()
