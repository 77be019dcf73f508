"""The fast door and Flask's view are one endpoint: the same answers, counters and log lines for the same requests."""

import gzip
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from models.readings import decode_entry
from models.stream.admission import BacklogFull, OutcomeUnknown, StreamUnreachable
from tests.factories import ago, bearer, meter, vehicle
from webapp import create_app
from webapp.http.metrics import REQUEST_SECONDS, REQUESTS_REFUSED
from webapp.ingest import fast_door
from webapp.ingest.counters import READINGS_ACCEPTED, READINGS_REJECTED, READINGS_WITH_IGNORED
from webapp.ingest.views import PATHS

GOOD = {
    "a meter": meter(),
    "a vehicle": vehicle(),
    "both": [meter(), vehicle()],
    "some meters": [meter("M1"), meter("M2")],
    "soc null": vehicle(soc=None),
    "no soc": {key: value for key, value in vehicle().items() if key != "soc"},
    "a type in capitals": {**meter(), "type": "METER"},
    "a field more": {**vehicle(), "firmware": "7.1"},
    "fields of the other kind": [{**meter(), "soc": 3}, {**vehicle(), "voltage": 230}],
    "eleven fields more": {**vehicle(), **{f"é{n}": {} for n in range(11)}},
    "an old one": [meter(at=ago(days=400))],
}
BAD = {
    "none": [],
    "an empty object": {},
    "an array in an array": [[]],
    "null": None,
    "a number": 3,
    "a number as text": meter(voltage="230"),
    "a negative energy": meter(kwhConsumedAc=-1),
    "no time": meter(timestamp="yesterday"),
    "a time ahead": meter(at=ago(days=-2)),
    "a bad id": meter("no such id!"),
    "meter and vehicle": {**meter(), **vehicle()},
    "a strange type": {**meter(), "type": "tram"},
    "good and bad": [meter(), meter(voltage=True), vehicle()],
    "two bad": [meter(voltage=5000), vehicle(soc=101)],
}
RAW = {
    "nothing": b"",
    "half an object": b"{",
    "not UTF-8": b"\xff\xfe",
    "too great a number": b"[1e999]",
    "NaN": json.dumps(meter(voltage=float("nan"))).encode(),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(meter()).encode(),
    "a line feed": json.dumps(meter()).encode() + b"\n",
    "nested deeply": b"[" * 100_000,
}
BODIES = {name: json.dumps(body).encode() for name, body in (GOOD | BAD).items()} | RAW
SENDERS = {
    "an id": {"headers": {"X-Request-ID": "mine.1"}},
    "no good id": {"headers": {"X-Request-ID": "not mine; drop"}},
    "a charset": {"content_type": "application/json; charset=utf-8"},
    "another JSON": {"content_type": "application/merge+json"},
    "no type": {"content_type": ""},
    "text": {"content_type": "text/plain"},
    "NDJSON": {"content_type": "application/x-ndjson"},
    "gzip that is none": {"headers": {"Content-Encoding": "gzip"}},
    "gzip": {"headers": {"Content-Encoding": "gzip"}, "data": gzip.compress(BODIES["both"])},
    "an empty key": {"headers": {"Idempotency-Key": ""}},
    "an origin": {"headers": {"Origin": "https://fleet.example"}},
    "atomic": {"query_string": "atomic=true"},
    "a strange query": {"query_string": "atomic=perhaps"},
    "another method": {"method": "PUT"},
}


@pytest.fixture(autouse=True)
def _drained(drain_all):
    yield
    drain_all()


@pytest.fixture
def doors(client, monkeypatch):
    """Sends a request to the fast door and then past it; returns both outcomes.

    An outcome is the answer, the counters and the log lines, without the ids and times of the request.
    """

    def send(path="/v1/telemetry", client=client, **options):
        options = {"method": "POST", "content_type": "application/json", "data": BODIES["both"]} | options
        outcomes = []
        for is_plain in (fast_door._is_plain, lambda _: False):
            lines = []
            log = SimpleNamespace(info=lambda event, lines=lines, **fields: lines.append(fields | {"seconds": 0}))
            with monkeypatch.context() as patch:
                patch.setattr(fast_door, "_is_plain", is_plain)
                patch.setattr("webapp.http.request_log.log", log)
                before = counters()
                answer = client.open(path, **options)
            assert int(answer.headers.pop("Content-Length")) == len(answer.data)  # receipts differ in length
            counted = {name: value - before.get(name, 0) for name, value in counters().items()}
            outcomes.append(
                {
                    "status": answer.status,
                    # The length differs with the digits of a receipt.
                    "headers": sorted((n, anonymous(value)) for n, value in answer.headers if n != "Content-Length"),
                    "is whole": answer.content_length == len(answer.data),
                    "body": anonymous(answer.text),
                    "counted": {name: value for name, value in counted.items() if value},
                    "lines": lines,
                }
            )
        return outcomes

    return send


@pytest.fixture
def answered(monkeypatch):
    """How many requests the fast door answered."""
    count = []
    answer_request = fast_door.FastDoor._answer

    def note(self, environ, path):
        answer = answer_request(self, environ, path)
        count.append(answer is not None)
        return answer

    monkeypatch.setattr(fast_door.FastDoor, "_answer", note)
    return lambda: sum(count)


def counters() -> dict:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for metric in (READINGS_ACCEPTED, READINGS_REJECTED, READINGS_WITH_IGNORED, REQUESTS_REFUSED, REQUEST_SECONDS)
        for family in metric.collect()
        for sample in family.samples
        if not sample.name.endswith(("_sum", "_bucket", "_created"))
    }


def anonymous(text: str) -> str:
    """Without ids and times of this request."""
    text = re.sub(r"\b[0-9a-f]{32}\b", "<id>", text)
    text = re.sub(r"\b\d+-\d{13}-\d+(-[0-9a-f]{16})?\b", "<receipt>", text)
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>", text)


@pytest.mark.parametrize("name", BODIES)
def test_both_doors_answer_any_body_alike(doors, name):
    fast, flask = doors(data=BODIES[name])
    assert fast == flask
    assert len(flask["lines"]) == 1


@pytest.mark.parametrize("name", SENDERS)
def test_both_doors_answer_any_sender_alike(doors, name):
    fast, flask = doors(**SENDERS[name])
    assert fast == flask


@pytest.mark.parametrize(("path", "kind", "status"), PATHS)
@pytest.mark.parametrize("body", ["a meter", "a vehicle", "both", "good and bad"])
def test_both_doors_answer_any_path_alike(doors, path, kind, status, body):
    fast, flask = doors(path, data=BODIES[body])
    assert fast == flask
    fits = kind is None or body == f"a {kind.name}"
    if fits and body != "good and bad":
        assert int(flask["status"][:3]) == status


@pytest.mark.parametrize("name", GOOD)
def test_valid_readings_are_answered_by_the_fast_door(client, answered, name):
    assert client.post("/v1/telemetry", data=BODIES[name], content_type="application/json").status_code == 202
    assert answered() == 1


def test_both_doors_append_the_same_entry(client, resources, broker, monkeypatch):
    for is_plain in (fast_door._is_plain, lambda _: False):
        monkeypatch.setattr(fast_door, "_is_plain", is_plain)
        client.post("/v1/telemetry", json=[meter(), vehicle()], headers={"X-Request-ID": "same"})
    entries = [
        fields[b"v1"]
        for shard in range(resources.stream.shards)
        for _, fields in broker.xrange(f"telemetry:{{{shard}}}")
    ]
    assert len(entries) == 2
    assert decode_entry(entries[0]).request_id == "same"
    first, second = (decode_entry(entry) for entry in entries)
    assert (first.meters[0][0], first.vehicles[0][0]) == (second.meters[0][0], second.vehicles[0][0])


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BacklogFull("full"), 503),
        (StreamUnreachable("unavailable"), 503),
        (OutcomeUnknown("lost"), 504),
        (ZeroDivisionError(), 500),
    ],
)
def test_a_failed_append_is_tried_once_and_answered_alike(doors, app, monkeypatch, error, status):
    tries = []

    def fail(*_, **__):
        tries.append(1)
        raise error

    monkeypatch.setattr(app.extensions["resources"].stream, "append", fail)
    fast, flask = doors()
    assert fast == flask
    assert int(flask["status"][:3]) == status
    assert len(tries) == 2  # one for each door


def test_both_doors_answer_any_key_alike(doors, new_key, answered):
    senders = {
        "all": new_key("ingest"),
        "admin": new_key("admin"),
        "these": new_key("ingest", device_prefix="M"),
        "others": new_key("ingest", device_ids=("X",)),
        "read": new_key("read"),
        "limited": new_key("ingest", readings_per_second=0.001, readings_burst=100),
        "none": "nonsense",
    }
    statuses, by_fast_door = {}, {}
    for name, text in senders.items():
        doors(data=BODIES["a meter"], headers=bearer(text))  # a new device of a key passes through Flask
        before = answered()
        fast, flask = doors(data=BODIES["a meter"], headers=bearer(text))
        if name != "limited":  # its remaining allowance differs from one request to the next
            assert fast == flask, name
        statuses[name], by_fast_door[name] = int(flask["status"][:3]), answered() - before
    assert statuses == {"all": 202, "admin": 202, "these": 202, "others": 403, "read": 403, "limited": 202, "none": 401}
    assert by_fast_door == {"all": 1, "admin": 1, "these": 1, "others": 0, "read": 0, "limited": 0, "none": 0}


def test_both_doors_answer_any_origin_alike(doors, resources):
    app = create_app(replace(resources.settings, cors_origins="https://fleet.example"))
    for origin in ({}, {"Origin": "https://fleet.example"}, {"Origin": "https://other.example"}):
        fast, flask = doors(client=app.test_client(), headers=origin)
        assert fast == flask
        assert ("Vary", "Origin") in flask["headers"]
    app.extensions["resources"].close()


def test_both_doors_keep_the_bounds_of_a_request(doors, with_settings):
    with_settings(max_batch_readings=1)
    fast, flask = doors()
    assert fast == flask
    assert flask["status"].startswith("413")
    with_settings(max_body_bytes=1024)
    fast, flask = doors(data=b" " * 1025)
    assert fast == flask
    assert flask["status"].startswith("413")
