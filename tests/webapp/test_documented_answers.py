"""Answers about readings, devices, mappings and the service have the shape, media type and headers of the document."""

import gzip
import json

import pytest

from tests.factories import ago, meter, vehicle
from tests.webapp.documents import validator

MAPPING = "/v1/analytics/vehicle-mapping"


def test_answers_to_readings_are_as_documented(client, check, drain_all):
    for path, readings, status in (
        ("/v1/telemetry", [meter(), vehicle()], 202),
        ("/v1/telemetry/meter", meter(), 200),
        ("/ingest/vehicle", vehicle(soc=None), 201),
        ("/v1/ingest/meters", [meter(), meter(voltage=-1)], 201),
    ):
        check(client.post(path, json=readings), status)
    keyed = {"Idempotency-Key": "test-openapi"}
    check(client.post("/v1/telemetry", json=meter(at=ago(hours=1)), headers=keyed), 202)
    replay = check(client.post("/v1/telemetry", json=meter(at=ago(hours=1)), headers=keyed), 202)
    assert replay.headers["Idempotent-Replay"] == "true"
    check(client.post("/v1/telemetry", json=meter("M002"), headers=keyed), 422)
    packed = gzip.compress(json.dumps(meter()).encode())
    check(client.post("/v1/telemetry", data=packed, headers={"Content-Encoding": "gzip"}), 202)
    receipt = check(client.get(f"/v1/telemetry/receipts/{replay.json['receipt']}"), 200)
    assert receipt.json["state"] == "pending"
    drain_all()
    check(client.get(f"/v1/telemetry/receipts/{replay.json['receipt']}"), 200)
    check(client.get("/v1/telemetry/receipts/nonsense"), 404)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"data": "{"}, 400),
        ({"data": b"x", "headers": {"Content-Encoding": "gzip"}}, 400),
        ({"json": []}, 422),
        ({"json": 5}, 422),
        ({"json": {"meterId": "a b"}}, 422),
        ({"json": [{"meterId": "a b"}, 7]}, 422),
        ({"json": meter(), "headers": {"Idempotency-Key": "k" * 129}}, 422),
        ({"json": meter(), "query_string": {"atomic": "perhaps"}}, 422),
        ({"json": [meter(), {}], "query_string": {"atomic": "true"}}, 422),
        ({"data": "a: b", "content_type": "application/yaml"}, 415),
        ({"data": "x", "headers": {"Content-Encoding": "br"}}, 415),
        ({"data": " " * (9 * 1024 * 1024)}, 413),
        ({"data": json.dumps([0] * 10_001)}, 413),
    ],
    ids=lambda value: str(value)[:60],
)
def test_refusals_of_readings_are_as_documented(client, check, sent, status):
    check(client.post("/v1/telemetry", **sent), status)


def test_a_full_backlog_is_answered_as_documented(client, check, with_settings, drain_all):
    with_settings(stream_max_entries=1, stream_shards=1)
    check(client.post("/v1/telemetry", json=meter()), 202)
    check(client.post("/v1/telemetry", json=meter()), 503)
    drain_all()


def test_answers_about_devices_are_as_documented(client, check, drain_all):
    client.post("/v1/telemetry", json=[meter(), meter("M002"), vehicle(soc=None), vehicle("V002")])
    client.post(MAPPING, json={"vehicleId": "V001", "meterId": "M001"})
    drain_all()
    for plural, device in (("meters", "M001"), ("vehicles", "V001")):
        first = check(client.get(f"/v1/{plural}?limit=1&online=true"), 200)
        check(client.get(f"/v1/{plural}?limit=1&cursor={first.json['next']}"), 200)
        check(client.get(f"/v1/{plural}?limit=0"), 422)
        check(client.get(f"/v1/{plural}/{device}"), 200)
        check(client.get(f"/v1/{plural}/{device}/history"), 200)
        check(client.get(f"/v1/{plural}/{device}/history?cursor=nonsense"), 422)
        check(client.get(f"/v1/{plural}/{device}/history", headers={"Accept": "text/csv"}), 200)
        check(client.get(f"/v1/{plural}/unknown-device"), 404)
        check(client.get(f"/v1/{plural}/unknown-device/history"), 404)


def test_the_header_of_the_csv_is_the_documented_one(client, document, drain_all):
    client.post("/v1/telemetry", json=vehicle())
    drain_all()
    answer = client.get("/v1/vehicles/V001/history", headers={"Accept": "text/csv"})
    described = document["paths"]["/v1/vehicles/{vehicleId}/history"]["get"]["responses"]["200"]
    assert answer.text.splitlines()[0] in described["content"]["text/csv"]["schema"]["description"]


def test_answers_about_mappings_are_as_documented(client, check):
    pair = {"vehicleId": "V001", "meterId": "M001"}
    check(client.post(MAPPING, json=pair), 201)
    check(client.post(MAPPING, json=pair), 200)
    check(client.post(MAPPING, json=pair | {"from": "2026-02-10T10:30:00Z", "to": "2026-02-10T10:30:00Z"}), 422)
    check(client.post(MAPPING, data="{"), 400)
    check(client.post(MAPPING, data=" " * 20_000), 413)
    check(client.post(MAPPING, data="<a/>", content_type="text/xml"), 415)
    check(client.get(MAPPING, query_string={"vehicleId": "V001"}), 200)
    check(client.delete(MAPPING, query_string=pair), 200)
    check(client.delete(MAPPING, query_string=pair), 404)
    check(client.delete(MAPPING), 422)


def test_answers_about_the_service_are_as_documented(client, check, with_settings, alive):
    check(client.get("/"), 200)
    check(client.get("/", headers={"Accept": "text/html"}), 302)
    check(client.get("/health/live"), 200)
    check(client.get("/health/ready"), 200)
    check(client.get("/metrics"), 200)
    check(client.get("/openapi.json"), 200)
    with_settings(redis_url="redis://127.0.0.1:1/0")
    check(client.get("/health/ready"), 503)


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("PUT", "/v1/vehicles", 405)])
def test_errors_outside_the_document_have_the_error_shape(client, document, method, path, status):
    answer = client.open(path, method=method)
    assert answer.status_code == status
    validator(document, document["components"]["schemas"]["Error"]).validate(answer.json)
