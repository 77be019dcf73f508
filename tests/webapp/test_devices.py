"""Live state and history over HTTP."""

import pytest

from tests.factories import ago, meter, stamp, vehicle


def test_a_live_vehicle_shows_its_last_reading_and_its_meters(client, send):
    at = ago(seconds=30)
    client.post("/v1/analytics/vehicle-mapping", json={"vehicleId": "V001", "meterId": "M001"})
    send(vehicle(at=at))
    live = client.get("/v1/vehicles/V001").json
    assert live.pop("receivedAt") > stamp(at)
    assert live == {
        "vehicleId": "V001",
        "kwhDeliveredDc": 1.2,
        "batteryTemp": 25.0,
        "soc": 50.0,
        "timestamp": stamp(at),
        "lastSeen": stamp(at),
        "online": True,
        "meters": ["M001"],
        "register": "interval",
        "heartbeatSeconds": None,
        "name": None,
        "site": None,
        "ratedPowerKw": None,
    }


def test_a_device_without_recent_readings_is_offline(client, send):
    send(meter("NEAR", ago(seconds=100)), meter("FAR", ago(seconds=200)))
    assert client.get("/v1/meters/NEAR").json["online"] is True
    assert client.get("/v1/meters/FAR").json["online"] is False
    assert [item["meterId"] for item in client.get("/v1/meters?online=true").json["items"]] == ["NEAR"]
    assert [item["meterId"] for item in client.get("/v1/meters?online=false").json["items"]] == ["FAR"]


@pytest.mark.parametrize("path", ["/v1/vehicles/NOBODY", "/v1/meters/NOBODY", "/v1/meters/%00", "/v1/vehicles/a%20b"])
def test_an_unknown_device_is_not_found(client, path):
    for url in (path, f"{path}/history"):
        answer = client.get(url)
        assert answer.status_code == 404
        assert answer.json["message"] in ("Vehicle not found", "Meter not found")


def test_devices_are_paged_in_the_order_of_their_ids(client, send):
    send(*[vehicle(f"V{number}") for number in range(10)])
    seen, url = [], "/v1/vehicles?limit=3"
    while url:
        page = client.get(url).json
        seen += [item["vehicleId"] for item in page["items"]]
        url = page["next"] and f"/v1/vehicles?limit=3&cursor={page['next']}"
    assert seen == [f"V{number}" for number in range(10)]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "online=maybe", "cursor=!", "cursor=AAAA", "cursor=%00", "cursor=kaNhAGI"],
)
def test_a_wrong_page_is_refused(client, query):
    answer = client.get(f"/v1/vehicles?{query}")
    assert answer.status_code == 422
    assert list(answer.json["errors"]) == [query.split("=")[0]]


def test_history_comes_newest_first_in_pages(client, send):
    times = [ago(minutes=minutes) for minutes in range(1, 8)]
    send(*[vehicle(at=at) for at in reversed(times)], vehicle("V002"))
    seen, url = [], "/v1/vehicles/V001/history?limit=3"
    while url:
        page = client.get(url).json
        seen += [item["timestamp"] for item in page["items"]]
        url = page["next"] and f"/v1/vehicles/V001/history?limit=3&cursor={page['next']}"
    assert seen == [stamp(at) for at in times]


def test_pages_of_history_have_every_reading_of_an_instant(client, send):
    at = ago(minutes=1)
    send(*[meter(at=at, voltage=200 + number) for number in range(5)])
    seen, url = [], "/v1/meters/M001/history?limit=2"
    while url:
        page = client.get(url).json
        seen += [item["voltage"] for item in page["items"]]
        url = page["next"] and f"/v1/meters/M001/history?limit=2&cursor={page['next']}"
    assert seen == [204, 203, 202, 201, 200]


def test_history_of_a_window(client, send):
    send(*[meter(at=ago(minutes=minutes)) for minutes in range(10)])
    items = client.get(
        "/v1/meters/M001/history", query_string={"from": stamp(ago(minutes=5)), "to": stamp(ago(minutes=2))}
    ).json["items"]
    assert len(items) in (2, 3, 4)  # the clock moves between the lines above
    assert client.get("/v1/meters/M001/history?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z").status_code == 422


def test_history_as_csv_has_every_reading(client, send):
    times = [ago(seconds=seconds) for seconds in range(1, 2501)]
    send(*[vehicle(at=at, soc=None if at is times[0] else 50) for at in times])
    answer = client.get("/v1/vehicles/V001/history", headers={"Accept": "text/csv"})
    assert answer.mimetype == "text/csv"
    lines = answer.text.splitlines()
    assert lines[0] == "vehicleId,timestamp,receivedAt,kwhDeliveredDc,batteryTemp,soc"
    assert len(lines) == 2501
    assert lines[1].startswith(f"V001,{stamp(times[0])},")
    assert lines[1].endswith(",1.2,25.0,")
    limited = client.get("/v1/vehicles/V001/history?limit=7", headers={"Accept": "text/csv"})
    assert len(limited.text.splitlines()) == 8
