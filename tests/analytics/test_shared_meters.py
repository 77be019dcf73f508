"""Feeds and shared meters: the share of each vehicle. Numbers are worked out by hand."""

from datetime import UTC, datetime, timedelta

from tests.factories import map_meter, meter, stamp, vehicle

NOON = datetime(2026, 2, 10, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def share(client, vehicle_id="V001", start=0.0, end=60.0) -> dict:
    window = {"from": stamp(at(start)), "to": stamp(at(end))}
    answer = client.get(f"/v1/analytics/performance/{vehicle_id}", query_string=window)
    assert answer.status_code == 200
    return answer.json


def ac(client, *window) -> tuple[float, float]:
    return tuple(share(client, name, *window)["totalAcConsumption"] for name in ("V001", "V002"))


def test_a_shared_meter_is_divided_by_the_dc_energy_of_the_hour(client, send):
    map_meter(client, "V001")
    map_meter(client, "V002")
    send(
        meter(at=at(10), kwhConsumedAc=6),
        meter(at=at(50), kwhConsumedAc=4),
        vehicle("V001", at(20), kwhDeliveredDc=6),
        vehicle("V002", at(40), kwhDeliveredDc=2),
    )
    # 10 kWh AC in the hour, DC 6 : 2. V001 gets 7.5, V002 2.5; the minutes do not matter.
    answer = share(client)
    assert (answer["meters"], answer["shared"], answer["totalAcConsumption"]) == (["M001"], True, 7.5)
    assert answer["meterShares"] == [{"meterId": "M001", "shared": True, "acConsumption": 7.5, "meterDataPoints": 2}]
    assert (answer["efficiencyRatio"], answer["status"]) == (0.8, "degraded")
    assert share(client, "V002")["totalAcConsumption"] == 2.5


def test_each_hour_is_divided_separately(client, send):
    map_meter(client, "V001")
    map_meter(client, "V002")
    send(
        meter(at=at(10), kwhConsumedAc=10),
        meter(at=at(70), kwhConsumedAc=10),
        vehicle("V001", at(10), kwhDeliveredDc=9),
        vehicle("V002", at(10), kwhDeliveredDc=1),
        vehicle("V001", at(70), kwhDeliveredDc=1),
        vehicle("V002", at(70), kwhDeliveredDc=1),
    )
    # 9 + 5 and 1 + 5; by the whole two hours it would have been 16.67 and 3.33.
    assert ac(client, 0, 120) == (14, 6)


def test_shares_are_equal_if_no_vehicle_drew_energy(client, send):
    for name in ("V001", "V002", "V003"):
        map_meter(client, name)
        send(vehicle(name, at(0), kwhDeliveredDc=0))
    send(meter(at=at(10), kwhConsumedAc=3))
    assert ac(client) == (1, 1)


def test_a_vehicle_without_readings_has_a_share(client, send):
    map_meter(client, "V001")
    map_meter(client, "V002")
    send(meter(at=at(10), kwhConsumedAc=3), vehicle("V001", at(10), kwhDeliveredDc=2))
    assert share(client)["totalAcConsumption"] == 3  # all of the DC is its own
    send(meter(at=at(70), kwhConsumedAc=3))
    assert share(client, "V001", 60, 120)["totalAcConsumption"] == 1.5  # no vehicle drew energy


def test_a_shared_part_of_an_hour_is_a_segment(client, send):
    map_meter(client, "V001")
    map_meter(client, "V002", **{"from": at(20), "to": at(40)})
    send(
        *[meter(at=at(minute), kwhConsumedAc=4) for minute in (10, 20, 39, 40)],
        vehicle("V001", at(5), kwhDeliveredDc=100),  # before the shared segment
        vehicle("V001", at(25), kwhDeliveredDc=3),
        vehicle("V002", at(25), kwhDeliveredDc=1),
        vehicle("V002", at(45), kwhDeliveredDc=100),  # no longer fed
    )
    # 12:10 and 12:40 are V001's: 8. Of 12:20 and 12:39, 8 kWh, it gets 3/4: 6; V002 the other 2.
    assert ac(client) == (14, 2)
    assert share(client)["shared"] is True
    # A window that holds nothing of the segment is not shared.
    assert share(client, "V001", 0, 20)["shared"] is False
    assert share(client, "V001", 40, 60)["shared"] is False


def test_a_window_that_cuts_a_segment_is_divided_by_the_whole_segment(client, send):
    map_meter(client, "V001")
    map_meter(client, "V002")
    send(
        meter(at=at(10), kwhConsumedAc=8),
        meter(at=at(50), kwhConsumedAc=8),
        vehicle("V001", at(5), kwhDeliveredDc=3),
        vehicle("V002", at(55), kwhDeliveredDc=1),
    )
    # 3 : 1 in the whole hour. V002 drew nothing in the first half, and has its quarter of it: so the halves add up.
    assert ac(client, 0, 30) == (6, 2)
    assert ac(client, 30, 60) == (6, 2)
    assert ac(client, 0, 60) == (12, 4)


def test_cumulative_vehicles_share_by_their_increases(client, send):
    map_meter(client, "V001")
    map_meter(client, "V002")
    for path in ("meters/M001", "vehicles/V001"):
        client.put(f"/v1/{path}", json={"register": "cumulative"})
    send(
        meter(at=at(-1), kwhConsumedAc=500),
        meter(at=at(30), kwhConsumedAc=509),
        vehicle("V001", at(-1), kwhDeliveredDc=80),
        vehicle("V001", at(30), kwhDeliveredDc=86),
        vehicle("V002", at(30), kwhDeliveredDc=3),
    )
    # 9 kWh, 6 : 3.
    assert ac(client) == (6, 3)


def test_a_mapping_that_changes_within_the_window(client, send):
    map_meter(client, "V001", "M001", to=at(30))
    map_meter(client, "V002", "M001", **{"from": at(30)})
    send(
        *[meter(at=at(minute), kwhConsumedAc=1) for minute in (0, 29, 30, 59)],
        vehicle("V001", at(1)),
        vehicle("V002", at(1)),
    )
    # One after the other is not shared: 12:30 itself is already V002's.
    assert ac(client) == (2, 2)
    assert share(client)["shared"] is False
    assert share(client)["meterDataPoints"] == 2


def test_the_other_vehicle_changes_within_the_hour(client, send):
    map_meter(client, "V001")
    map_meter(client, "V002", to=at(30))
    map_meter(client, "V003", **{"from": at(30)})
    send(
        meter(at=at(15), kwhConsumedAc=4),
        meter(at=at(45), kwhConsumedAc=4),
        vehicle("V001", at(15), kwhDeliveredDc=1),
        vehicle("V002", at(15), kwhDeliveredDc=1),
        vehicle("V001", at(45), kwhDeliveredDc=1),
        vehicle("V003", at(45), kwhDeliveredDc=3),
    )
    # First half 1 : 1, second half 1 : 3.
    assert ac(client) == (3, 2)
    assert share(client, "V003")["totalAcConsumption"] == 3


def test_a_session_on_a_mapped_meter_counts_once(client, send, database):
    map_meter(client)
    database.execute(
        "insert into charging_sessions (vehicle_id, meter_id, started_at, ended_at) values ('V001', 'M001', %s, %s)",
        [at(10), at(20)],
    )
    send(meter(at=at(15), kwhConsumedAc=2), vehicle(at=at(15)))
    answer = share(client)
    assert (answer["totalAcConsumption"], answer["meterDataPoints"], answer["shared"]) == (2, 1, False)


def test_one_of_two_meters_is_shared(client, send):
    map_meter(client, "V001", "M001")
    map_meter(client, "V001", "M002")
    map_meter(client, "V002", "M002")
    send(
        meter("M001", at(10), kwhConsumedAc=5),
        meter("M002", at(10), kwhConsumedAc=4),
        vehicle("V001", at(10), kwhDeliveredDc=3),
        vehicle("V002", at(10), kwhDeliveredDc=1),
    )
    assert share(client)["meterShares"] == [
        {"meterId": "M001", "shared": False, "acConsumption": 5.0, "meterDataPoints": 1},
        {"meterId": "M002", "shared": True, "acConsumption": 3.0, "meterDataPoints": 1},
    ]


def test_an_unmapped_vehicle_has_no_share(client, send):
    map_meter(client, "V001")
    send(meter(at=at(10), kwhConsumedAc=3), vehicle("V001", at(10)), vehicle("V002", at(10), kwhDeliveredDc=9))
    assert ac(client) == (3, 0)
    answer = share(client, "V002")
    assert (answer["meters"], answer["meterShares"], answer["shared"]) == ([], [], False)
    assert (answer["totalDcDelivery"], answer["efficiencyRatio"], answer["status"]) == (9, None, "unknown")
