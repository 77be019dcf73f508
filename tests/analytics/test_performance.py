"""Performance of a vehicle: which energy counts, when and how often, and the plan of the query."""

from datetime import UTC, datetime, timedelta

import pytest

from models.analytics.energy.performance import PLAIN_PERFORMANCE
from tests.analytics.query_plans import plan_nodes
from tests.factories import ago, map_meter, meter, stamp, vehicle


def performance(client, vehicle_id="V001", **window):
    answer = client.get(
        f"/v1/analytics/performance/{vehicle_id}", query_string={k: stamp(v) for k, v in window.items()}
    )
    assert answer.status_code == 200, answer.json
    return answer.json


def test_the_last_24_hours_of_a_vehicle_through_its_meter(client, send):
    map_meter(client)
    send(
        *[meter(at=ago(minutes=m), kwhConsumedAc=1.5) for m in range(1, 5)],
        *[vehicle(at=ago(minutes=m), kwhDeliveredDc=1.2, batteryTemp=20 + m) for m in range(1, 5)],
        meter(at=ago(hours=25), kwhConsumedAc=100),
        vehicle(at=ago(hours=25), kwhDeliveredDc=100, batteryTemp=99),
    )
    answer = performance(client)
    assert answer.pop("window").keys() == {"from", "to"}
    # AC 4 × 1.5, DC 4 × 1.2, mean of 21, 22, 23 and 24 °C, 4 of 1,440 minutes.
    assert answer == {
        "vehicleId": "V001",
        "meters": ["M001"],
        "shared": False,
        "meterShares": [{"meterId": "M001", "shared": False, "acConsumption": 6.0, "meterDataPoints": 4}],
        "totalAcConsumption": 6.0,
        "totalDcDelivery": 4.8,
        "efficiencyRatio": 0.8,
        "avgBatteryTemp": 22.5,
        "dataPoints": 4,
        "meterDataPoints": 4,
        "completeness": 0.0028,
        "implausible": 0,
        "status": "degraded",
        "acEnergyConsumed": 6.0,
        "dcEnergyDelivered": 4.8,
        "efficiency": 0.8,
        "energyCost": None,
        "lossCost": None,
        "currency": None,
        "costs": [],
    }


def test_the_older_form_of_the_request(client, send):
    map_meter(client)
    send(meter(kwhConsumedAc=3), vehicle(kwhDeliveredDc=2, batteryTemp=30.456))
    answer = client.get("/v1/analytics/performance/vehicleid?vehicleId=V001")
    assert answer.json == {
        "vehicleId": "V001",
        "sumDC": 2.0,
        "sumAC": 3.0,
        "efficiency": 66.67,
        "avgBatteryTemp": 30.46,
    }
    assert client.get("/v1/analytics/performance/vehicleid?vehicleId=nobody").status_code == 404
    assert client.get("/v1/analytics/performance/vehicleid").status_code == 422


def test_the_same_reading_twice_is_two_rows_and_counts_once(client, send, database):
    map_meter(client)
    at = ago(minutes=1)
    send(meter(at=at), vehicle(at=at))
    send(meter(at=at), vehicle(at=at))
    assert database.execute("select count(*) from meter_readings_history").fetchone()[0] == 2
    answer = performance(client)
    assert (answer["totalAcConsumption"], answer["totalDcDelivery"], answer["dataPoints"]) == (1.5, 1.2, 1)


def test_a_vehicle_on_two_meters_one_after_the_other(client, send):
    change = ago(minutes=30)
    map_meter(client, meter_id="M001", to=change)
    map_meter(client, meter_id="M002", **{"from": change})
    before, after = change - timedelta(minutes=5), change + timedelta(minutes=5)
    send(
        meter("M001", before, kwhConsumedAc=1),
        meter("M001", change, kwhConsumedAc=10),  # from here on M001 is somebody else's
        meter("M001", after, kwhConsumedAc=100),
        meter("M002", before, kwhConsumedAc=1000),
        meter("M002", change, kwhConsumedAc=2),
        meter("M002", after, kwhConsumedAc=4),
        vehicle(at=after),
    )
    answer = performance(client)
    assert answer["meters"] == ["M001", "M002"]
    assert (answer["totalAcConsumption"], answer["meterDataPoints"]) == (1 + 2 + 4, 3)


def test_two_vehicles_do_not_see_each_others_energy(client, send):
    map_meter(client, "V001", "M001")
    map_meter(client, "V002", "M002")
    send(
        meter("M001", kwhConsumedAc=1),
        meter("M002", kwhConsumedAc=2),
        vehicle("V001", kwhDeliveredDc=0.5),
        vehicle("V002", kwhDeliveredDc=1.9),
    )
    first, second = performance(client, "V001"), performance(client, "V002")
    assert (first["totalAcConsumption"], first["totalDcDelivery"]) == (1, 0.5)
    assert (second["totalAcConsumption"], second["totalDcDelivery"]) == (2, 1.9)
    assert (first["status"], second["status"]) == ("degraded", "healthy")


def test_overlapping_mappings_of_one_pair_count_once(client, send):
    map_meter(client)
    map_meter(client, **{"from": ago(hours=2)})
    map_meter(client, **{"from": ago(hours=3), "to": ago(hours=1)})
    send(meter(at=ago(minutes=90), kwhConsumedAc=2), vehicle())
    assert performance(client)["totalAcConsumption"] == 2


def test_without_a_meter_the_efficiency_is_unknown(client, send):
    send(meter(), vehicle())
    answer = performance(client)
    assert (answer["meters"], answer["totalAcConsumption"], answer["totalDcDelivery"]) == ([], 0, 1.2)
    assert (answer["efficiencyRatio"], answer["efficiency"], answer["status"]) == (None, None, "unknown")


def test_without_ac_energy_the_efficiency_is_unknown(client, send):
    map_meter(client)
    send(meter(kwhConsumedAc=0), vehicle())
    assert (performance(client)["efficiencyRatio"], performance(client)["status"]) == (None, "unknown")


def test_an_unknown_vehicle_is_not_found(client):
    answer = client.get("/v1/analytics/performance/UNKNOWN")
    assert (answer.status_code, answer.json["message"]) == (404, "Vehicle not found")
    assert client.get("/v1/analytics/performance/%00").status_code == 404


def test_a_vehicle_silent_in_the_window_has_zeros_and_nulls(client, send):
    map_meter(client)
    send(vehicle(at=ago(hours=30)))
    answer = performance(client)
    assert (answer["totalDcDelivery"], answer["avgBatteryTemp"], answer["dataPoints"]) == (0, None, 0)
    assert (answer["completeness"], answer["status"]) == (0, "unknown")


def test_a_window_holds_its_start_and_not_its_end(client, send):
    map_meter(client)
    start, end = ago(hours=3), ago(hours=2)
    send(meter(at=start, kwhConsumedAc=1), meter(at=end, kwhConsumedAc=10), vehicle(at=start))
    answer = performance(client, **{"from": start, "to": end})
    assert answer["window"] == {"from": stamp(start), "to": stamp(end)}
    assert (answer["totalAcConsumption"], answer["completeness"]) == (1, round(1 / 60, 4))


@pytest.mark.parametrize(
    "query",
    [
        "from=yesterday",
        "from=2026-02-10T10:30:00",
        "from=2026-02-10T10:30:00Z&to=2026-02-10T10:30:00Z",
        "from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:01Z",
        "from=2999-01-01T00:00:00Z",
        "to=0001-01-01T00:00:00Z",
        "from=%00",
    ],
)
def test_a_bad_window_is_refused(client, send, query):
    send(vehicle())
    answer = client.get(f"/v1/analytics/performance/V001?{query}")
    assert answer.status_code == 422
    assert set(answer.json["errors"]) <= {"from", "to"}


def test_a_plus_sign_that_became_a_space_is_understood(client, send):
    send(vehicle())
    answer = client.get("/v1/analytics/performance/V001?from=2026-02-10T10:30:00+01:00&to=2026-02-10T12:30:00+01:00")
    assert answer.json["window"] == {"from": "2026-02-10T09:30:00Z", "to": "2026-02-10T11:30:00Z"}


# ── Mapping ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_mapping_again_is_no_error(client):
    assert map_meter(client).status_code == 201
    again = map_meter(client)
    assert (again.status_code, again.json) == (
        200,
        {"vehicleId": "V001", "meterId": "M001", "from": None, "to": None},
    )


def test_a_pair_mapped_from_a_time_on_is_mapped(client):
    start = ago(hours=1)
    map_meter(client, **{"from": start})
    again = map_meter(client)
    assert (again.status_code, again.json["from"]) == (200, stamp(start))
    assert len(client.get("/v1/analytics/vehicle-mapping?vehicleId=V001").json["items"]) == 1


def test_an_ended_pair_starts_again_after_a_gap(client, send):
    map_meter(client)
    client.delete("/v1/analytics/vehicle-mapping?vehicleId=V001&meterId=M001")
    again = map_meter(client)
    assert (again.status_code, again.json["to"]) == (201, None)
    first, second = client.get("/v1/analytics/vehicle-mapping?vehicleId=V001").json["items"]
    assert first["to"] <= second["from"]


def test_an_end_can_be_set_later(client):
    map_meter(client)
    ended = map_meter(client, to=ago(minutes=1))
    assert (ended.status_code, ended.json["from"]) == (200, None)
    assert ended.json["to"] is not None


def test_a_mapping_that_starts_later_can_be_deleted(client):
    map_meter(client, **{"from": ago(hours=-2)})
    assert client.delete("/v1/analytics/vehicle-mapping?vehicleId=V001&meterId=M001").status_code == 200
    assert client.get("/v1/analytics/vehicle-mapping").json["items"] == []


def test_a_vehicle_without_readings_is_not_found_although_mapped(client):
    map_meter(client)
    assert client.get("/v1/analytics/performance/V001").status_code == 404


def test_mappings_are_listed_by_vehicle_and_paged(client):
    for number in range(3):
        map_meter(client, meter_id=f"M00{number}", **({"from": ago(hours=number)} if number else {}))
    map_meter(client, "V002", "M009")
    url = "/v1/analytics/vehicle-mapping"
    assert [item["meterId"] for item in client.get(f"{url}?vehicleId=V001").json["items"]] == ["M000", "M001", "M002"]
    seen, cursor = [], ""
    for _ in range(4):
        page = client.get(f"{url}?limit=1{cursor}").json
        seen += [item["meterId"] for item in page["items"]]
        cursor = f"&cursor={page['next']}"
    assert seen == ["M000", "M001", "M002", "M009"]
    assert page["next"] is None


def test_deleting_a_mapping_ends_it_now_and_keeps_its_energy(client, send):
    map_meter(client)
    send(meter(at=ago(minutes=5), kwhConsumedAc=2), vehicle(at=ago(minutes=5)))
    url = "/v1/analytics/vehicle-mapping?vehicleId=V001&meterId=M001"
    ended = client.delete(url)
    assert ended.status_code == 200
    assert ended.json["items"][0]["to"] is not None
    assert client.delete(url).status_code == 404
    assert performance(client)["totalAcConsumption"] == 2
    assert client.get("/v1/vehicles/V001").json["meters"] == []


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"vehicleId", "meterId"}),
        ({"vehicleId": "V 1", "meterId": 5}, {"vehicleId", "meterId"}),
        ({"vehicleId": "V1", "meterId": "M1", "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, {"to"}),
        ({"vehicleId": "V1", "meterId": "M1", "from": "soon"}, {"from"}),
        ([], {"_schema"}),
        ("text", {"_schema"}),
    ],
)
def test_a_bad_mapping_is_refused(client, body, fields):
    answer = client.post("/v1/analytics/vehicle-mapping", json=body)
    assert answer.status_code == 422
    assert set(answer.json["errors"]) == fields


def test_an_end_before_the_start_of_an_open_mapping_is_refused(client):
    map_meter(client, **{"from": ago(hours=1)})
    answer = map_meter(client, to=ago(hours=2))
    assert (answer.status_code, list(answer.json["errors"])) == (422, ["to"])


# ── The plan ──────────────────────────────────────────────────────────────────────────────────────────


def test_performance_reads_only_the_covering_indexes_of_the_days_in_the_window(database):
    """A day of 1,000 devices, a reading every ten minutes of it: index-only, pruned, no sequential scan."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for kind, values in (("meter", "1.5, 230.0"), ("vehicle", "1.2, 25.0, 50.0")):
        database.execute(
            f"""insert into {kind}_readings_history
                select at, now(), {values}, '{kind[0].upper()}' || to_char(device, 'FM0000')
                from generate_series(%s::timestamptz, %s, '10 minutes') at, generate_series(1, 1000) device""",
            [today - timedelta(days=1), today - timedelta(seconds=1)],
        )
        database.execute(f"vacuum (analyze) {kind}_readings_history")
    database.execute("insert into vehicle_meter_mapping (vehicle_id, meter_id) values ('V0500', 'M0500')")
    values = {"vehicle_id": "V0500", "start": today - timedelta(days=1), "end": today, "heartbeat_seconds": 60}
    database.execute(PLAIN_PERFORMANCE, values)  # from now on the plans of feeds_of are kept
    (plan,) = database.execute(f"explain (analyze, buffers, format json) {PLAIN_PERFORMANCE}", values).fetchone()
    nodes = list(plan_nodes(plan[0]["Plan"]))
    history = [node for node in nodes if "readings_history" in node.get("Relation Name", "")]
    yesterday = f"{today - timedelta(days=1):%Y%m%d}"
    assert {node["Relation Name"] for node in history} == {
        f"meter_readings_history_{yesterday}",
        f"vehicle_readings_history_{yesterday}",
    }
    assert {node["Node Type"] for node in history} == {"Index Only Scan"}
    assert {node["Heap Fetches"] for node in history} == {0}
    assert all(node["Actual Rows"] == 144 for node in history)
    assert not any(node["Node Type"] == "Sort" and node["Actual Rows"] > 100 for node in nodes)
    assert plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"] < 60
