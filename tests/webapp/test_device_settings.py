"""What is known of devices: over HTTP, and many at once by CSV."""

import pytest

from tests.factories import meter, vehicle

KNOWN = {
    "register": "cumulative",
    "heartbeatSeconds": 300,
    "name": "Bay 7 – north",
    "site": "depot-north",
    "ratedPowerKw": 22.5,
}
UNKNOWN = {"register": "interval", "heartbeatSeconds": None, "name": None, "site": None, "ratedPowerKw": None}


@pytest.mark.parametrize(("path", "field"), [("meters", "meterId"), ("vehicles", "vehicleId")])
def test_settings_are_set_shown_and_changed_in_part(client, send, path, field):
    url = f"/v1/{path}/D001"
    new = client.put(url, json=KNOWN)
    assert (new.status_code, new.json) == (201, {field: "D001", **KNOWN})
    assert client.get(url).status_code == 404  # never heard
    send(meter("D001"), vehicle("D001"))
    assert client.get(url).json.items() >= KNOWN.items()
    changed = client.put(url, json={"name": "Bay 8", "heartbeatSeconds": None})
    assert changed.status_code == 200
    assert changed.json == {field: "D001", **KNOWN, "name": "Bay 8", "heartbeatSeconds": None}
    (listed,) = client.get(f"/v1/{path}").json["items"]
    assert listed.items() >= {**KNOWN, "name": "Bay 8", "heartbeatSeconds": None}.items()
    assert client.put(url, json=dict.fromkeys(KNOWN)).json == {field: "D001", **UNKNOWN}


def test_a_meter_and_a_vehicle_of_one_name_are_two(client):
    client.put("/v1/meters/D001", json={"name": "the meter"})
    assert client.put("/v1/vehicles/D001", json={}).json == {"vehicleId": "D001", **UNKNOWN}


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
def test_bad_settings_are_refused_whole(client, body, fields):
    client.put("/v1/meters/D001", json=KNOWN)
    answer = client.put("/v1/meters/D001", json=body)
    assert (answer.status_code, set(answer.json["errors"])) == (422, fields)
    assert client.put("/v1/meters/D001", json={}).json == {"meterId": "D001", **KNOWN}


def test_a_number_that_is_none_is_refused(client):
    body = b'{"heartbeatSeconds": 1e999, "ratedPowerKw": NaN}'
    answer = client.put("/v1/meters/D001", data=body, content_type="application/json")
    assert (answer.status_code, set(answer.json["errors"])) == (422, {"heartbeatSeconds", "ratedPowerKw"})


def test_a_name_that_postgres_has_no_characters_for_is_stored_all_the_same(client):
    answer = client.put("/v1/meters/D001", data=b'{"name": "a\\u0000b\\ud800c"}', content_type="application/json")
    assert (answer.status_code, answer.json["name"]) == (201, "a\N{REPLACEMENT CHARACTER}b?c")


def test_a_bad_id_is_refused(client):
    answer = client.put("/v1/meters/a%20b", json=KNOWN)
    assert (answer.status_code, list(answer.json["errors"])) == (422, ["meterId"])


def test_settings_are_for_admins_and_of_bound_devices(client, new_key):
    for key, device, status in (
        (new_key("ingest", "read"), "A-1", 403),
        (new_key("admin", device_prefix="A-"), "B-1", 403),
        (new_key("admin", device_prefix="A-"), "A-1", 201),
    ):
        assert client.put(f"/v1/meters/{device}", json=KNOWN, headers={"X-API-Key": key}).status_code == status


# ── energy devices ───────────────────────────────────────────────────────────────────────────────────────────

CSV = """kind,deviceId,register,heartbeatSeconds,name,site,ratedPowerKw
meter,M001,cumulative,300,"Bay 7, north",depot-north,22.5
vehicle,V001,interval,,,,
"""


def imported(runner, tmp_path, text: str):
    file = tmp_path / "fleet.csv"
    file.write_text(text, encoding="utf-8")
    return runner.invoke(args=["devices", "import", str(file)])


def test_what_is_exported_can_be_imported(runner, tmp_path, client):
    result = imported(runner, tmp_path, CSV)
    assert result.exit_code == 0, result.output
    assert "Imported the settings of 2 devices: 2 new" in result.output
    assert runner.invoke(args=["devices", "export"]).output == CSV
    client.put("/v1/meters/M001", json={"name": "other", "register": None})
    file = tmp_path / "export.csv"
    file.write_text(CSV, encoding="utf-8")
    assert "0 new, 2 had some already" in runner.invoke(args=["devices", "import", str(file)]).output
    runner.invoke(args=["devices", "export", str(file)])
    assert file.read_text(encoding="utf-8") == CSV
    table = runner.invoke(args=["devices", "list", "--kind", "meter"]).output
    assert "Bay 7, north" in table
    assert "V001" not in table


def test_a_column_that_is_not_there_changes_nothing_and_an_empty_field_does(runner, tmp_path, client):
    client.put("/v1/meters/M001", json=KNOWN)
    assert imported(runner, tmp_path, "kind,deviceId,site,name\nmeter,M001,depot-south,\n").exit_code == 0
    after = client.put("/v1/meters/M001", json={}).json
    assert after == {"meterId": "M001", **KNOWN, "site": "depot-south", "name": None}


def test_a_wrong_line_is_named_and_nothing_is_imported(runner, tmp_path, client):
    result = imported(
        runner,
        tmp_path,
        "kind,deviceId,register,heartbeatSeconds\nmeter,M001,cumulative,60\nmetre,M002,,\nmeter,M003,sum,soon\n"
        "meter,M001,,\nmeter,M004,,,5\n",
    )
    assert result.exit_code == 1
    for line, word in ((3, "kind"), (4, "heartbeatSeconds"), (5, "line 2"), (6, "more fields")):
        assert any(f"line {line}:" in said and word in said for said in result.output.splitlines()), result.output
    assert "4 of 5 lines are wrong; nothing was imported." in result.output
    assert runner.invoke(args=["devices", "export"]).output.count("\n") == 1
    assert "deviceId missing; unknown: 'id'" in imported(runner, tmp_path, "kind,id\n").output
