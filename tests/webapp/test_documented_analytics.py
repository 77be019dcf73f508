"""Answers of the analytics, alerts and exports have the shape, media type and headers of the document."""

from datetime import timedelta

from tests.factories import ago, meter, stamp, vehicle

MAPPING = "/v1/analytics/vehicle-mapping"


def test_answers_about_performance_are_as_documented(client, check, drain_all):
    at = ago(minutes=5)
    client.post(MAPPING, json={"vehicleId": "V001", "meterId": "M001"})
    client.post("/v1/telemetry", json=[meter(at=at), vehicle(at=at), vehicle("V002")])
    drain_all()
    assert check(client.get("/v1/analytics/performance/V001"), 200).json["status"] == "degraded"
    assert check(client.get("/v1/analytics/performance/V002"), 200).json["status"] == "unknown"
    before = {"from": stamp(at - timedelta(days=9)), "to": stamp(at - timedelta(days=8))}
    silent = check(client.get("/v1/analytics/performance/V001", query_string=before), 200)
    assert silent.json["avgBatteryTemp"] is None
    check(client.get("/v1/analytics/performance/vehicleid?vehicleId=V001"), 200)
    check(client.get("/v1/analytics/performance/vehicleid"), 422)
    check(client.get("/v1/analytics/performance/unknown-device"), 404)
    check(client.get("/v1/analytics/performance/V001?from=yesterday"), 422)


def test_answers_about_alerts_are_as_documented(client, check, path_values, database):
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


def test_answers_about_exports_are_as_documented(client, check, with_settings):
    for form in ("csv", "parquet"):
        check(client.get(f"/v1/export/readings?kind=vehicle&format={form}"), 200)
    check(client.get("/v1/export/readings"), 422)
    with_settings(export_concurrency=0)
    check(client.get("/v1/export/readings?kind=meter"), 503)


def test_answers_about_series_are_as_documented(client, check, drain_all):
    client.post("/v1/telemetry", json=[meter(), vehicle(soc=None)])
    drain_all()
    ahead = stamp(ago(hours=-3))
    for path in ("/v1/meters/M001/series", "/v1/vehicles/V001/series"):
        check(client.get(path), 200)
        check(client.get(path, query_string={"to": ahead, "bucket": "15m", "tz": "Asia/Kolkata"}), 200)
        check(client.get(path, headers={"Accept": "text/csv"}), 200)
        check(client.get(path + "?bucket=2h"), 422)
    check(client.get("/v1/meters/NOBODY/series"), 404)


def test_answers_about_tariffs_are_as_documented(client, check, path_values, drain_all):
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
    client.post("/v1/telemetry", json=[meter(), vehicle()])
    drain_all()
    client.post(MAPPING, json={"vehicleId": "V001", "meterId": "M001"})
    check(client.get("/v1/analytics/performance/V001"), 200)
