"""Query parameters that an operation does not have are refused, and the answer suggests the one that was meant."""

import time

import pytest

from tests.webapp.documents import operations
from webapp.http.fields import MAX_CHARACTERS, MAX_NAMES, closest, list_unknown


@pytest.mark.parametrize(
    ("path", "name", "text"),
    [
        ("/v1/vehicles", "onlin", "Unknown parameter; did you mean `online`?"),
        ("/v1/vehicles", "Online", "Unknown parameter; did you mean `online`?"),
        ("/v1/alerts", "device_id", "Unknown parameter; did you mean `deviceId`?"),
        ("/v1/meters/M001/history", "form", "Unknown parameter; did you mean `from`?"),
        ("/v1/tariffs", "foo", "Unknown parameter; this operation has `limit`, `cursor`."),
        ("/health/live", "foo", "Unknown parameter; this operation has no parameters."),
    ],
)
def test_an_unknown_parameter_is_refused_with_what_was_meant(client, path, name, text):
    answer = client.get(path, query_string={name: "x"})
    assert (answer.status_code, answer.json["errors"]) == (422, {name: [text]})


def test_no_operation_takes_an_unknown_parameter(client, document, check):
    for path, method, _ in operations(document):
        url = (
            path.replace("{sessionId}", "1")
            .replace("{alertId}", "1")
            .replace("{lossId}", "1")
            .replace("{receipt}", "1-1-1")
        )
        url = url.replace("{site}", "depot").replace("{vehicleId}", "V1").replace("{meterId}", "M1")
        answer = client.open(url, method=method, query_string={"surely_unknown": "1"}, json={})
        assert "surely_unknown" in check(answer, 422).json["errors"], f"{method} {path}"


def test_a_reading_with_an_unknown_parameter_is_not_accepted(client, resources):
    assert client.post("/v1/telemetry?atomc=true", json={}).json["errors"].keys() == {"atomc"}


def test_many_long_names_are_answered_briefly(client):
    query = "&".join(f"{n:05}{'limit' * 50}" for n in range(200))
    start = time.process_time()
    answer = client.get(f"/v1/vehicles?{query}")
    assert answer.status_code == 422
    assert len(answer.json["errors"]) == MAX_NAMES
    assert all(len(name) == MAX_CHARACTERS for name in answer.json["errors"])
    assert time.process_time() - start < 1


def test_a_suggestion_ignores_letter_case_and_punctuation():
    known = ["meterId", "vehicleId", "kwhConsumedAc", "soc", "timestamp"]
    for name, meant in {
        "meter_id": "meterId", "METERID": "meterId", "meter": "meterId", "kwh_consumed_ac": "kwhConsumedAc",
        "SOC": "soc", "timeStamp": "timestamp", "firmware": None, "": None, "x" * 1_000_000: None,
    }.items():  # fmt: skip
        assert closest(name, known) == meant, name[:80]


def test_unknown_names_are_fit_for_an_answer():
    assert list_unknown(["a", "b", "a", "c", "\ud800"], {"b"}) == ["a", "c", "?"]
