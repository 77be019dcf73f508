"""Settings of devices over HTTP."""

import pytest

from tests.factories import meter, vehicle

SETTINGS = {
    "register": "cumulative",
    "heartbeatSeconds": 300,
    "name": "Bay 7 – north",
    "site": "depot-north",
    "ratedPowerKw": 22.5,
}
DEFAULTS = {"register": "interval", "heartbeatSeconds": None, "name": None, "site": None, "ratedPowerKw": None}


@pytest.mark.parametrize(("path", "field"), [("meters", "meterId"), ("vehicles", "vehicleId")])
def test_settings_are_set_shown_and_changed_in_part(client, send, path, field):
    url = f"/v1/{path}/D001"
    new = client.put(url, json=SETTINGS)
    assert (new.status_code, new.json) == (201, {field: "D001", **SETTINGS})
    assert client.get(url).status_code == 404  # it has not reported yet
    send(meter("D001"), vehicle("D001"))
    assert client.get(url).json.items() >= SETTINGS.items()
    changed = client.put(url, json={"name": "Bay 8", "heartbeatSeconds": None})
    assert changed.status_code == 200
    assert changed.json == {field: "D001", **SETTINGS, "name": "Bay 8", "heartbeatSeconds": None}
    (listed,) = client.get(f"/v1/{path}").json["items"]
    assert listed.items() >= {**SETTINGS, "name": "Bay 8", "heartbeatSeconds": None}.items()
    assert client.put(url, json=dict.fromkeys(SETTINGS)).json == {field: "D001", **DEFAULTS}


def test_a_meter_and_a_vehicle_with_the_same_id_have_settings_of_their_own(client):
    client.put("/v1/meters/D001", json={"name": "the meter"})
    assert client.put("/v1/vehicles/D001", json={}).json == {"vehicleId": "D001", **DEFAULTS}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"registre": "cumulative"}, {"registre"}),
        (
            {"register": "counter", "heartbeatSeconds": 0, "site": "north depot"},
            {"register", "heartbeatSeconds", "site"},
        ),
        ({"heartbeatSeconds": "60", "ratedPowerKw": 0, "name": ""}, {"heartbeatSeconds", "ratedPowerKw", "name"}),
        ({"heartbeatSeconds": 1.5, "ratedPowerKw": "22"}, {"heartbeatSeconds", "ratedPowerKw"}),
        ({"heartbeatSeconds": True, "ratedPowerKw": False}, {"heartbeatSeconds", "ratedPowerKw"}),
        ({"name": "x" * 201, "heartbeatSeconds": 86_401}, {"name", "heartbeatSeconds"}),
        ([], {"_schema"}),
    ],
)
def test_wrong_settings_are_refused_and_change_nothing(client, body, fields):
    client.put("/v1/meters/D001", json=SETTINGS)
    answer = client.put("/v1/meters/D001", json=body)
    assert (answer.status_code, set(answer.json["errors"])) == (422, fields)
    assert client.put("/v1/meters/D001", json={}).json == {"meterId": "D001", **SETTINGS}


def test_a_number_that_is_not_finite_is_refused(client):
    body = b'{"heartbeatSeconds": 1e999, "ratedPowerKw": NaN}'
    answer = client.put("/v1/meters/D001", data=body, content_type="application/json")
    assert (answer.status_code, set(answer.json["errors"])) == (422, {"heartbeatSeconds", "ratedPowerKw"})


def test_characters_that_postgres_cannot_store_are_replaced(client):
    answer = client.put("/v1/meters/D001", data=b'{"name": "a\\u0000b\\ud800c"}', content_type="application/json")
    assert (answer.status_code, answer.json["name"]) == (201, "a\N{REPLACEMENT CHARACTER}b?c")


def test_a_wrong_id_is_refused(client):
    answer = client.put("/v1/meters/a%20b", json=SETTINGS)
    assert (answer.status_code, list(answer.json["errors"])) == (422, ["meterId"])


def test_settings_need_an_admin_key_of_the_device(client, new_key):
    for key, device, status in (
        (new_key("ingest", "read"), "A-1", 403),
        (new_key("admin", device_prefix="A-"), "B-1", 403),
        (new_key("admin", device_prefix="A-"), "A-1", 201),
    ):
        assert client.put(f"/v1/meters/{device}", json=SETTINGS, headers={"X-API-Key": key}).status_code == status
