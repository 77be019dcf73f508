"""Fields of a reading that its kind does not have: accepted, named in the answer and counted."""

import json

import pytest

from tests.factories import meter, vehicle
from webapp.http.fields import MAX_CHARACTERS, MAX_NAMES
from webapp.ingest.counters import READINGS_WITH_IGNORED

NDJSON = "application/x-ndjson"


@pytest.fixture(autouse=True)
def _drained(drain_all):
    yield
    drain_all()


def without(reading: dict, name: str, **more) -> dict:
    return {key: value for key, value in reading.items() if key != name} | more


@pytest.mark.parametrize(
    ("body", "ignored", "readings"),
    [
        ({**vehicle(), "SOC": 50, "stateOfCharge": 50}, ["SOC", "stateOfCharge"], 1),
        ([meter(), meter(firmware="7")], ["firmware"], 1),
        ([meter(a=1), vehicle(b=1, a=1), meter(c=1)], ["a", "b", "c"], 3),
        ([meter(soc=5), vehicle()], ["soc"], 1),
        ([vehicle(meterId=None), {**vehicle(), "type": "vehicle", "meterId": "M1"}, meter()], ["meterId"], 1),
        ([meter(a=1), meter(voltage=-1, b=1)], ["a"], 1),  # b is of a reading that is refused
        ([meter(**{f"f{n:02}": n}) for n in range(30)], [f"f{n:02}" for n in range(MAX_NAMES)], 30),
        (meter(**{"x" * 1000: 1}), ["x" * MAX_CHARACTERS], 1),
        ([meter(), vehicle()], None, 0),
        (meter(large="x" * 20_000), None, 0),  # the names of a row of this size are not read
    ],
)
@pytest.mark.parametrize("form", ["json", "ndjson", "flask"])
def test_fields_that_are_ignored_are_named_and_counted(client, body, ignored, readings, form):
    before = READINGS_WITH_IGNORED._value.get()
    rows = body if isinstance(body, list) else [body]
    if form == "ndjson":
        answer = client.post("/v1/telemetry", data="\n \r\n\n".join(map(json.dumps, rows)) + "\n", content_type=NDJSON)
    else:
        headers = {"Idempotency-Key": "k"} if form == "flask" else {}
        answer = client.post("/v1/telemetry", json=body, headers=headers)
    assert answer.status_code == 202
    assert answer.json.get("ignored") == ignored
    assert READINGS_WITH_IGNORED._value.get() - before == readings


@pytest.mark.parametrize("content_type", ["application/json", NDJSON])
def test_a_name_that_is_not_utf_8_does_no_harm(client, content_type):
    body = json.dumps(meter(temp=1)).encode().replace(b"temp", "température".encode("latin-1"))
    answer = client.post("/v1/telemetry", data=body, content_type=content_type)
    assert (answer.status_code, answer.json["ignored"]) == (202, ["temp\ufffdrature"])


@pytest.mark.parametrize("path", ["/v1/telemetry/meter", "/ingest/meter", "/v1/ingest/meters"])
def test_paths_of_one_kind_name_them_too(client, path):
    assert client.post(path, json=[meter(Voltage=1, soc=3)]).json["ignored"] == ["Voltage", "soc"]


def test_a_repeat_names_them_again_and_counts_once(client):
    before = READINGS_WITH_IGNORED._value.get()
    for _ in range(2):
        answer = client.post("/v1/telemetry", json=meter(a=1), headers={"Idempotency-Key": "k"})
        assert answer.json["ignored"] == ["a"]
    assert READINGS_WITH_IGNORED._value.get() - before == 1


@pytest.mark.parametrize(
    ("path", "reading", "errors"),
    [
        (
            "",
            without(meter(), "meterId", meter_id="M1"),
            {"meterId": ["Unknown field `meter_id`; did you mean `meterId`?"]},
        ),
        (
            "",
            without(meter(), "voltage", Voltage=230),
            {"voltage": ["Missing data for required field.", "Unknown field `Voltage`; did you mean `voltage`?"]},
        ),
        (
            "/vehicle",
            without(vehicle(), "batteryTemp", battery_temp=20, firmware="7"),
            {
                "batteryTemp": [
                    "Missing data for required field.",
                    "Unknown field `battery_temp`; did you mean `batteryTemp`?",
                ]
            },
        ),
        ("", without(meter(), "voltage", firmware="7"), {"voltage": ["Missing data for required field."]}),
    ],
)  # fmt: skip
def test_the_error_of_a_missing_field_suggests_the_unknown_one(client, path, reading, errors):
    answer = client.post(f"/v1/telemetry{path}", json=reading)
    assert (answer.status_code, answer.json["errors"]) == (422, errors)
    several = client.post(f"/v1/telemetry{path}", json=[reading, reading])
    assert [row["errors"] for row in several.json["errors"]] == [errors, errors]
