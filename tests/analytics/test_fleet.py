"""The fleet: whose energy counts where, who is the worst, and that parts add up to the whole."""

from datetime import UTC, datetime, timedelta

import pytest

from models.devices.settings import set_device
from models.readings import METER
from tests.factories import ago, map_meter, meter, stamp, vehicle
from tests.rollups import roll_up, start_watermark

HOUR = timedelta(hours=1)
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)
FLEET = "/v1/analytics/fleet"


def ask(client, path="", **query) -> dict:
    answer = client.get(FLEET + path, query_string=query)
    assert answer.status_code == 200, answer.json
    return answer.json


@pytest.fixture
def fleet(client, send, database):
    """V1 at 90 %, V2 at 80 %, V3 on no meter, V4 silent; M9 feeds nobody. The watermark is half past one."""
    map_meter(client, "V1", "M1")
    map_meter(client, "V2", "M2")
    start_watermark(database, NOON - 25 * HOUR)
    send(
        meter("M1", NOON, kwhConsumedAc=10),
        vehicle("V1", NOON, kwhDeliveredDc=9, batteryTemp=20),
        meter("M2", NOON + HOUR, kwhConsumedAc=20),
        vehicle("V2", NOON + HOUR, kwhDeliveredDc=12, batteryTemp=40),
        vehicle("V2", NOON + HOUR + timedelta(minutes=1), kwhDeliveredDc=4, batteryTemp=30),
        vehicle("V3", NOON, kwhDeliveredDc=5, batteryTemp=60),
        vehicle("V4", NOON - timedelta(days=3)),
        meter("M9", NOON, kwhConsumedAc=7),
        # Before and after the window.
        meter("M1", NOON - timedelta(hours=24), kwhConsumedAc=100),
        meter("M1", NOON + timedelta(minutes=90), kwhConsumedAc=100),
    )
    roll_up(database, NOON + timedelta(minutes=90))


def test_the_fleet_at_a_glance(client, fleet):
    answer = ask(client)
    # The hour of the watermark is one o'clock; 24 hours before it the window begins.
    assert answer["window"] == {"from": stamp(NOON - 23 * HOUR), "to": stamp(NOON + timedelta(minutes=90))}
    assert (answer["watermark"], answer["recomputing"]) == (answer["window"]["to"], 0)
    # AC 10 + 20, DC 9 + 12 + 4: V3's 5 reached it through no meter, M9's 7 reached nobody.
    assert (answer["totalAcConsumption"], answer["totalDcDelivery"], answer["loss"]) == (30, 25, 5)
    assert answer["efficiencyRatio"] == 0.8333
    assert (answer["unmeteredDcDelivery"], answer["unmappedAcConsumption"]) == (5, 7)
    assert answer["vehicles"] == {"known": 4, "healthy": 1, "degraded": 1, "implausible": 0, "unknown": 2}
    # 4 of 4 vehicles × 24.5 h × 60 readings.
    assert (answer["dataPoints"], answer["completeness"]) == (4, round(4 / 5880, 4))
    assert answer["offline"] == {"vehicles": 4, "meters": 3}
    assert answer["new"] == {"vehicles": 4, "meters": 3}
    assert [(worst["vehicleId"], worst["efficiencyRatio"], worst["loss"]) for worst in answer["worst"]] == [
        ("V2", 0.8, 4),
        ("V1", 0.9, 1),
    ]


def test_the_trend_adds_up_to_the_whole(client, fleet):
    hours = ask(client, "/trend")
    assert len(hours["items"]) == 25
    assert [item["from"] for item in hours["items"]][-2:] == [stamp(NOON), stamp(NOON + HOUR)]
    assert hours["items"][-1]["to"] == hours["watermark"]
    assert [item["totalAcConsumption"] for item in hours["items"]][-3:] == [0, 10, 20]
    assert [item["efficiencyRatio"] for item in hours["items"]][-3:] == [None, 0.9, 0.8]
    days = ask(client, "/trend", bucket="1d")
    assert [(item["from"], item["vehicles"]) for item in days["items"]] == [
        (hours["window"]["from"], 0),
        (stamp(NOON.replace(hour=0)), 2),
    ]
    whole = ask(client)
    for name in ("totalAcConsumption", "totalDcDelivery", "unmeteredDcDelivery", "loss", "dataPoints"):
        assert sum(item[name] for item in hours["items"]) == sum(item[name] for item in days["items"]) == whole[name]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["V2", "V1", "V3", "V4"]),  # what is not known comes last
        ({"sort": "loss"}, ["V2", "V1", "V3", "V4"]),
        ({"sort": "temperature"}, ["V3", "V2", "V1", "V4"]),
        ({"status": "unknown"}, ["V3", "V4"]),
        ({"status": "degraded", "sort": "temperature"}, ["V2"]),
    ],
)
def test_vehicles_in_order_page_by_page(client, fleet, query, expected):
    assert [item["vehicleId"] for item in ask(client, "/vehicles", **query)["items"]] == expected
    found, cursor = [], {}
    while cursor is not None:
        page = ask(client, "/vehicles", limit=1, **query, **cursor)
        found += [item["vehicleId"] for item in page["items"]]
        cursor = {"cursor": page["next"]} if page["next"] else None
    assert found == expected


def test_a_list_keeps_the_window_of_its_first_page(client, fleet, database):
    first = ask(client, "/vehicles", limit=1)
    roll_up(database, NOON + 5 * HOUR)
    second = ask(client, "/vehicles", limit=1, cursor=first["next"])
    assert (second["window"], second["watermark"]) == (first["window"], stamp(NOON + 5 * HOUR))
    roll_up(database, NOON + 26 * HOUR)
    assert client.get(f"{FLEET}/vehicles?cursor={first['next']}").status_code == 422


def test_a_vehicle_of_the_fleet_has_the_numbers_of_its_performance(client, fleet):
    (found,) = (item for item in ask(client, "/vehicles")["items"] if item["vehicleId"] == "V2")
    window = ask(client)["window"]
    performance = client.get("/v1/analytics/performance/V2", query_string=window).json
    for name in found.keys() & performance.keys():
        assert found[name] == performance[name], name
    assert (found["maxBatteryTemp"], found["avgBatteryTemp"]) == (40, 35)


def test_a_shared_meter_is_divided_and_named_shared(client, send, database):
    map_meter(client, "V1", "M1")
    map_meter(client, "V2", "M1")
    start_watermark(database, NOON)
    send(
        meter("M1", NOON, kwhConsumedAc=10),
        vehicle("V1", NOON, kwhDeliveredDc=6),
        vehicle("V2", NOON, kwhDeliveredDc=2),
    )
    roll_up(database, NOON + HOUR)
    items = {item["vehicleId"]: item for item in ask(client, "/vehicles")["items"]}
    # 10 kWh, six to two.
    assert [items[name]["totalAcConsumption"] for name in ("V1", "V2")] == [7.5, 2.5]
    assert [items[name]["shared"] for name in ("V1", "V2")] == [True, True]
    assert ask(client)["totalAcConsumption"] == 10


def test_a_meter_is_shared_also_without_a_reading(client, send, database):
    """As in performance: by what fed the vehicles within the window."""
    start_watermark(database, NOON)
    map_meter(client, "V1", "M1")
    map_meter(client, "V2", "M1", **{"from": NOON + HOUR, "to": NOON + 2 * HOUR})
    map_meter(client, "V3", "M1", to=NOON - 40 * HOUR)  # before the window
    send(meter("M1", NOON), *[vehicle(name, NOON) for name in ("V1", "V2", "V3")])
    roll_up(database, NOON + 3 * HOUR)
    window = ask(client)["window"]
    shared = {item["vehicleId"]: item["shared"] for item in ask(client, "/vehicles")["items"]}
    assert shared == {"V1": True, "V2": True, "V3": False}
    for name, value in shared.items():
        performance = client.get(f"/v1/analytics/performance/{name}", query_string=window).json
        assert performance["shared"] == value
    assert [worst["shared"] for worst in ask(client)["worst"]] == [True]


def test_a_changed_mapping_changes_the_roll_ups(client, fleet, database):
    client.delete("/v1/analytics/vehicle-mapping?vehicleId=V1&meterId=M1")
    map_meter(client, "V3", "M9")
    roll_up(database, NOON + timedelta(minutes=90))
    answer = ask(client)
    # What M1 gave until now stays V1's; M9's 7 are V3's.
    assert (answer["totalAcConsumption"], answer["unmappedAcConsumption"]) == (37, 0)
    assert (answer["totalDcDelivery"], answer["unmeteredDcDelivery"]) == (30, 0)


def test_costs_with_a_tariff(client, fleet, database):
    assert (ask(client)["energyCost"], ask(client)["costs"]) == (None, [])
    for meter_id in ("M1", "M2"):
        set_device(database, METER, meter_id, {"site": "depot"})
    tariff = {"currency": "EUR", "timezone": "UTC", "pricePerKwh": 0.3}
    assert client.put("/v1/tariffs/depot", json=tariff).status_code in (200, 201)
    answer = ask(client)
    # 30 kWh at 30 cents; the 5 of them that were lost.
    assert (answer["energyCost"], answer["lossCost"], answer["currency"]) == (9.0, 1.5, "EUR")


def test_a_bound_key_sees_its_vehicles_only(client, fleet, new_key):
    headers = {"Authorization": f"Bearer {new_key('read', device_ids=['V2'])}"}
    answer = client.get(FLEET, headers=headers).json
    assert (answer["totalAcConsumption"], answer["unmappedAcConsumption"]) == (20, None)
    assert (answer["vehicles"]["known"], answer["offline"]) == (1, {"vehicles": 1, "meters": 0})
    assert [item["vehicleId"] for item in client.get(f"{FLEET}/vehicles", headers=headers).json["items"]] == ["V2"]
    trend = client.get(f"{FLEET}/trend", headers=headers).json
    assert sum(item["totalAcConsumption"] for item in trend["items"]) == 20


def test_before_anything_is_rolled_up_there_is_nothing(client, send):
    send(vehicle(at=ago(minutes=5)))
    answer = ask(client)
    assert (answer["watermark"], answer["totalAcConsumption"], answer["worst"]) == (None, 0, [])
    assert answer["vehicles"] == {"known": 1, "healthy": 0, "degraded": 0, "implausible": 0, "unknown": 1}
    assert ask(client, "/trend")["items"] == []
    assert [item["completeness"] for item in ask(client, "/vehicles")["items"]] == [None]


def test_the_fleet_for_other_tests_has_every_kind_of_vehicle(client, rolled_fleet):
    answer = ask(client)
    assert answer["watermark"] == stamp(rolled_fleet)
    assert answer["vehicles"] == {"known": 6, "healthy": 1, "degraded": 3, "implausible": 0, "unknown": 2}
    assert (answer["totalAcConsumption"], answer["energyCost"], answer["currency"]) == (40, 12, "EUR")
    assert [item["vehicleId"] for item in ask(client, "/vehicles")["items"] if item["shared"]] == ["V5", "V6"]
    assert [item["vehicles"] for item in ask(client, "/trend")["items"]][-2:] == [4, 1]


@pytest.mark.parametrize(
    "query", ["?window=1h", "/trend?bucket=5m", "/vehicles?sort=name", "/vehicles?status=ill", "/vehicles?cursor=x"]
)
def test_bad_queries_are_refused(client, query):
    answer = client.get(FLEET + query)
    assert answer.status_code == 422
    assert answer.json["errors"]


# ── The command ──────────────────────────────────────────────────────────────────────────────────────────────


def test_status_and_rebuild_by_command(runner, client, fleet, database):
    done = runner.invoke(args=["rollups", "status"])
    assert f"{NOON + timedelta(minutes=90):%Y-%m-%dT%H:%M:%SZ}" in done.output
    assert "stale marks  0 pending" in done.output
    before = ask(client)
    database.execute("update vehicle_hourly set kwh = kwh + 1, ac_kwh = 0")
    assert ask(client) != before
    done = runner.invoke(args=["rollups", "rebuild", "--from", f"{NOON:%Y-%m-%dT%H:%M:%SZ}"])
    assert done.exit_code == 0, done.output
    assert "2 hours" in done.output
    assert ask(client) == before
    assert runner.invoke(args=["rollups", "rebuild", "--from", "yesterday"]).exit_code == 2
