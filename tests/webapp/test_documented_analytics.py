"""Answers of the analytics, alerts and exports have the shape, media type and headers of the document."""

from datetime import timedelta
from decimal import Decimal

import pytest

from models.analytics.fleet import costs as fleet_costs
from models.analytics.money.tariffs import DAYS, Period, Tariff, set_tariff
from models.devices.settings import set_device
from models.readings import METER
from tests.factories import ago, bearer, map_meter, stamp

PERFORMANCE, FLEET, SESSIONS = "/v1/analytics/performance", "/v1/analytics/fleet", "/v1/sessions"


def test_performance_is_as_documented(client, check, rolled_fleet):
    def performance(vehicle_id: str, **query) -> dict:
        return check(client.get(f"{PERFORMANCE}/{vehicle_id}", query_string=query), 200).json

    assert performance("V1")["status"] == "healthy"
    degraded = performance("V2")
    assert (degraded["status"], degraded["energyCost"], degraded["lossCost"]) == ("degraded", 6, 1.2)
    assert [cost["currency"] for cost in degraded["costs"]] == ["EUR"]
    shared = performance("V5")
    assert (shared["shared"], shared["meterShares"][0]["acConsumption"]) == (True, 7.5)
    unknown = performance("V3")
    assert (unknown["status"], unknown["efficiencyRatio"], unknown["costs"]) == ("unknown", None, [])
    assert performance("V4")["avgBatteryTemp"] is None
    ahead = performance("V1", **{"from": stamp(ago(hours=-1)), "to": stamp(ago(hours=-2))})
    assert ahead["completeness"] is None


def test_performance_in_several_currencies_is_as_documented(client, check, rolled_fleet, database):
    map_meter(client, "V1", "M9")
    set_device(database, METER, "M9", {"site": "abroad"})
    set_tariff(database, Tariff("abroad", "SEK", "Europe/Stockholm", Decimal(2)))
    answer = check(client.get(f"{PERFORMANCE}/V1"), 200).json
    assert ([cost["currency"] for cost in answer["costs"]], answer["energyCost"]) == (["EUR", "SEK"], None)


def test_performance_in_percent_is_as_documented(client, check, rolled_fleet):
    assert check(client.get(f"{PERFORMANCE}/vehicleid?vehicleId=V2"), 200).json["efficiency"] == 80
    assert check(client.get(f"{PERFORMANCE}/vehicleid?vehicleId=V3"), 200).json["efficiency"] is None
    check(client.get(f"{PERFORMANCE}/vehicleid"), 422)


@pytest.mark.parametrize(
    ("path", "status"), [("unknown-device", 404), ("a%20b", 404), ("V1?from=yesterday", 422), ("V1?to=1999", 422)]
)
def test_refusals_of_performance_are_as_documented(client, check, rolled_fleet, path, status):
    check(client.get(f"{PERFORMANCE}/{path}"), status)


def test_the_fleet_is_as_documented(client, check, rolled_fleet):
    for window in ("24h", "7d", "30d"):
        answer = check(client.get(f"{FLEET}?window={window}"), 200).json
        assert answer["watermark"] == stamp(rolled_fleet)
        assert {vehicle["status"] for vehicle in answer["worst"]} == {"healthy", "degraded"}
        assert [cost["currency"] for cost in answer["costs"]] == ["EUR"]
        assert answer["vehicles"]["degraded"] == 3
        assert answer["unmappedAcConsumption"] == 7
    check(client.get(f"{FLEET}?window=1h"), 422)


def test_a_fleet_without_roll_ups_is_as_documented(client, check):
    answer = check(client.get(FLEET), 200).json
    assert (answer["watermark"], answer["completeness"], answer["worst"]) == (None, None, [])
    check(client.get(f"{FLEET}/trend"), 200)
    check(client.get(f"{FLEET}/vehicles"), 200)


def test_a_fleet_whose_costs_are_not_computed_is_as_documented(client, check, rolled_fleet, database, monkeypatch):
    within_an_hour = f"{rolled_fleet - timedelta(minutes=15):%H:%M}"
    period = Period(DAYS, "00:00", within_an_hour, Decimal(1))
    set_tariff(database, Tariff("depot", "EUR", "UTC", Decimal("0.3"), (period,)))
    monkeypatch.setattr(fleet_costs, "MAX_FROM_HISTORY", 0)
    answer = check(client.get(FLEET), 200).json
    assert (answer["costs"], answer["energyCost"]) == (None, None)


def test_the_fleet_of_a_bound_key_is_as_documented(client, check, rolled_fleet, new_key):
    headers = bearer(new_key("read", device_ids=frozenset({"V1", "M1"})))
    answer = check(client.get(FLEET, headers=headers), 200).json
    assert (answer["vehicles"]["known"], answer["unmappedAcConsumption"]) == (1, None)


@pytest.mark.parametrize("bucket", ["1h", "1d"])
def test_the_trend_of_the_fleet_is_as_documented(client, check, rolled_fleet, bucket):
    answer = check(client.get(f"{FLEET}/trend?bucket={bucket}"), 200).json
    assert sum(item["totalAcConsumption"] for item in answer["items"]) == 40
    check(client.get(f"{FLEET}/trend?bucket=5m"), 422)


@pytest.mark.parametrize("sort", ["efficiency", "loss", "temperature"])
def test_the_vehicles_of_the_fleet_are_as_documented(client, check, rolled_fleet, sort):
    query = {"sort": sort, "limit": 4}
    first = check(client.get(f"{FLEET}/vehicles", query_string=query), 200).json
    second = check(client.get(f"{FLEET}/vehicles", query_string=query | {"cursor": first["next"]}), 200).json
    items = first["items"] + second["items"]
    assert {item["vehicleId"] for item in items} == {"V1", "V2", "V3", "V4", "V5", "V6"}
    assert {item["status"] for item in items} == {"healthy", "degraded", "unknown"}
    assert {item["shared"] for item in items} == {True, False}
    check(client.get(f"{FLEET}/vehicles?cursor=nonsense"), 422)


def test_sessions_are_as_documented(client, check, rolled_fleet):
    started = rolled_fleet.replace(minute=0) - timedelta(hours=1)
    start = {"vehicleId": "V5", "meterId": "M3", "startedAt": stamp(started)}
    session = check(client.post(SESSIONS, json=start), 201).json
    assert (session["state"], session["endedAt"], session["soc"]) == ("open", None, {"from": 50, "to": 50})
    assert (session["shared"], session["currency"]) == (True, "EUR")
    check(client.post(SESSIONS, json=start), 200)
    check(client.post(SESSIONS, json=start | {"meterId": "M1"}), 409)
    check(client.post(SESSIONS, json=start | {"vehicleId": 5}), 422)
    path = f"{SESSIONS}/{session['id']}"
    check(client.get(path), 200)
    check(client.post(f"{path}/end", json={"endedAt": stamp(started)}), 422)
    assert check(client.post(f"{path}/end"), 200).json["state"] == "ended"
    check(client.post(f"{path}/end"), 409)
    empty = {"vehicleId": "V4", "meterId": "M4", "startedAt": stamp(started)}
    assert check(client.post(SESSIONS, json=empty), 201).json["soc"] == {"from": None, "to": None}
    page = check(client.get(f"{SESSIONS}?limit=1"), 200).json
    assert check(client.get(f"{SESSIONS}?limit=1&cursor={page['next']}"), 200).json["next"] is None
    check(client.get(f"{SESSIONS}?limit=1000"), 422)
    check(client.get(f"{SESSIONS}/999999"), 404)
    check(client.post(f"{SESSIONS}/999999/end"), 404)


@pytest.mark.parametrize("path", ["/v1/meters/M3/series", "/v1/vehicles/V5/series"])
def test_series_are_as_documented(client, check, rolled_fleet, path):
    answer = check(client.get(path), 200).json
    assert answer["watermark"] == stamp(rolled_fleet)
    assert any(bucket["energy"] for bucket in answer["buckets"])
    ahead = check(
        client.get(path, query_string={"to": stamp(ago(hours=-3)), "bucket": "15m", "tz": "Asia/Kolkata"}), 200
    )
    assert ahead.json["buckets"][-1]["completeness"] is None
    check(client.get(path, headers={"Accept": "text/csv"}), 200)
    check(client.get(path + "?bucket=2h"), 422)
    check(client.get(path.replace("3", "-unknown").replace("5", "-unknown")), 404)


@pytest.mark.parametrize(
    ("path", "shape"), [("/v1/meters/M3/series", "MeterBucket"), ("/v1/vehicles/V5/series", "VehicleBucket")]
)
def test_the_columns_of_a_series_are_the_fields_of_its_buckets(client, document, rolled_fleet, path, shape):
    header = client.get(path, headers={"Accept": "text/csv"}).text.splitlines()[0]
    assert header.split(",") == list(document["components"]["schemas"][shape]["properties"])


def test_alerts_are_as_documented(client, check, path_values, database):
    path = f"/v1/alerts/{path_values['alertId']}"
    assert check(client.get("/v1/alerts"), 200).json["items"]
    check(client.get("/v1/alerts?state=over"), 422)
    check(client.get(path), 200)
    check(client.get("/v1/alerts/999999"), 404)
    check(client.post(f"{path}/acknowledge"), 200)
    check(client.post(f"{path}/acknowledge", data="{"), 400)
    check(client.post(f"{path}/acknowledge", json={"note": 5}), 422)
    database.execute("update alerts set state = 'resolved', resolved_at = now()")
    check(client.post(f"{path}/acknowledge"), 409)
    check(client.get(path), 200)


def test_exports_are_as_documented(client, check, with_settings):
    for form in ("csv", "parquet"):
        check(client.get(f"/v1/export/readings?kind=vehicle&format={form}"), 200)
    check(client.get("/v1/export/readings"), 422)
    with_settings(export_concurrency=0)
    check(client.get("/v1/export/readings?kind=meter"), 503)


def test_tariffs_are_as_documented(client, check):
    nights = [{"from": "22:00", "to": "06:00", "pricePerKwh": 0.1}]
    tariff = {"currency": "EUR", "timezone": "Europe/Berlin", "pricePerKwh": 0.3, "periods": nights}
    check(client.put("/v1/tariffs/new", json=tariff), 201)
    check(client.put("/v1/tariffs/new", json=tariff), 200)
    check(client.put("/v1/tariffs/new", json=tariff | {"prices": []}), 422)
    check(client.get("/v1/tariffs/new"), 200)
    check(client.get("/v1/tariffs"), 200)
    assert client.delete("/v1/tariffs/new").status_code == 204
    check(client.delete("/v1/tariffs/new"), 404)
    check(client.get("/v1/tariffs/new"), 404)
