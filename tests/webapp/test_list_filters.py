"""Lists of devices, of fleet vehicles and of alerts, by site and by a part of the id."""

import pytest

from models.analytics.sessions.records import start_session
from models.devices.settings import set_device
from models.readings import METER, VEHICLE
from tests.factories import ago, meter, vehicle


@pytest.fixture
def devices(send, database):
    names = ("A-1", "A-2", "B_1", "B-10", "B%1", "a-3")
    names = [name.replace("%", ".") for name in names]
    send(*map(meter, names), *map(vehicle, names))
    for kind, name, site in ((METER, "A-1", "north"), (METER, "B-10", "north"), (VEHICLE, "A-2", "north")):
        set_device(database, kind, name, {"site": site})


def ids(client, path: str, field: str) -> list[str]:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return [item[field] for item in answer.json["items"]]


@pytest.mark.parametrize(
    ("query", "meters", "vehicles"),
    [
        ("site=north", ["A-1", "B-10"], ["A-2"]),
        ("site=North", [], []),
        ("site=south", [], []),
        ("search=a-", ["A-1", "A-2", "a-3"], ["A-1", "A-2", "a-3"]),
        ("search=_", ["B_1"], ["B_1"]),  # not a pattern
        ("search=.", ["B.1"], ["B.1"]),
        ("search=1&site=north", ["A-1", "B-10"], []),
        ("search=1&site=north&online=false", [], []),
        ("search=1&limit=2", ["A-1", "B-10"], ["A-1", "B-10"]),
    ],
)
def test_devices_by_site_and_part_of_the_id(client, devices, query, meters, vehicles):
    assert ids(client, f"/v1/meters?{query}", "meterId") == meters
    assert ids(client, f"/v1/vehicles?{query}", "vehicleId") == vehicles


def test_filtered_lists_are_paged(client, devices):
    first = client.get("/v1/meters?search=1&limit=2").json
    assert ids(client, f"/v1/meters?search=1&limit=2&cursor={first['next']}", "meterId") == ["B.1", "B_1"]


def test_a_key_finds_only_its_own_devices(client, devices, new_key):
    headers = {"X-API-Key": new_key("read", device_prefix="A-")}
    items = client.get("/v1/meters?search=1", headers=headers).json["items"]
    assert [item["meterId"] for item in items] == ["A-1"]


@pytest.mark.parametrize(
    "path", ["/v1/meters", "/v1/vehicles", "/v1/alerts", "/v1/sessions", "/v1/analytics/fleet/vehicles"]
)
@pytest.mark.parametrize("query", ["search=", "search=%25", "search=a%20b", f"search={'x' * 65}", "site="])
def test_what_no_id_can_have_is_refused(client, path, query):
    answer = client.get(f"{path}?{query}")
    assert (answer.status_code, list(answer.json["errors"])) == (422, [query.split("=")[0]])


def test_vehicles_of_the_fleet(client, rolled_fleet, database):
    set_device(database, VEHICLE, "V2", {"site": "north"})
    set_device(database, VEHICLE, "V1", {"site": "north"})
    path = "/v1/analytics/fleet/vehicles"
    assert ids(client, f"{path}?site=north", "vehicleId") == ["V2", "V1"]  # the worst first
    assert ids(client, f"{path}?site=north&status=degraded", "vehicleId") == ["V2"]
    assert ids(client, f"{path}?search=v1&site=north", "vehicleId") == ["V1"]


def test_alerts(client, devices, database):
    for kind, name in (("meter", "A-1"), ("vehicle", "A-1"), ("meter", "B-10")):
        database.execute(
            """insert into alerts (device_kind, device_id, kind, value, bound, detail)
               values (%s, %s, 'silent', 4000, 3600, '{"lastSeen": "2026-02-10T10:30:00.000000Z"}')""",
            [kind, name],
        )
    assert ids(client, "/v1/alerts?site=north", "deviceId") == ["B-10", "A-1"]
    assert ids(client, "/v1/alerts?search=a-", "deviceId") == ["A-1", "A-1"]
    assert ids(client, "/v1/alerts?search=a-&site=north", "deviceKind") == ["meter"]


def test_sessions_by_the_site_of_the_meter_and_part_of_either_id(client, devices, database):
    for vehicle_id, meter_id in (("A-1", "A-1"), ("A-2", "B-10"), ("B_1", "A-2")):
        start_session(database, vehicle_id, meter_id, ago(minutes=5))
    path = "/v1/sessions"
    assert ids(client, f"{path}?site=north", "meterId") == ["B-10", "A-1"]
    assert ids(client, f"{path}?search=b", "vehicleId") == ["B_1", "A-2"]
    assert ids(client, f"{path}?search=b&site=north", "vehicleId") == ["A-2"]
