"""The OpenAPI document and the service say the same."""

import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import validate as validate_document

from models.analytics.money.tariffs import Tariff, set_tariff
from models.analytics.sessions import start_session
from tests.factories import ago, meter, stamp, vehicle

MAPPING = "/v1/analytics/vehicle-mapping"
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture
def document(client) -> dict:
    return client.get("/openapi.json").json


@pytest.fixture
def check(document):
    """Holds an answer to what the document says about it; returns the answer."""

    def check(answer, status: int):
        assert answer.status_code == status, answer.text
        request = answer.request
        operation = document["paths"][documented_path(document, request.path)][request.method.lower()]
        described = resolve(document, operation["responses"][str(status)])
        assert answer.mimetype in described["content"], "media type"
        if answer.mimetype == "application/json":
            validator(document, described["content"]["application/json"]["schema"]).validate(answer.json)
        named = set(described["headers"])
        ours = {"X-Request-ID", "Retry-After", "Idempotent-Replay", "Content-Disposition", "Location", "Allow"}
        ours |= {"WWW-Authenticate", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"}
        told = {name for name in ours if name in answer.headers}
        assert told <= named, f"undocumented headers: {told - named}"
        assert "X-Request-ID" in told
        assert ("Retry-After" in told) == ("Retry-After" in named)
        return answer

    return check


@pytest.fixture
def given(database) -> dict:
    """What stands in paths."""
    (alert_id,) = database.execute(
        """insert into alerts (device_kind, device_id, kind, value, bound, detail)
           values ('meter', 'M001', 'silent', 4000, 3600, '{"lastSeen": "2026-02-10T10:30:00.000000Z"}') returning id"""
    ).fetchone()
    set_tariff(database, Tariff("depot-north", "EUR", "Europe/Berlin", Decimal("0.2841")))
    session, _ = start_session(database, "V002", "M002", datetime(2026, 2, 10, 8, tzinfo=UTC))
    return {
        "meterId": "M001",
        "vehicleId": "V001",
        "alertId": alert_id,
        "sessionId": session.id,
        "site": "depot-north",
    }


def validator(document: dict, schema: dict) -> Draft202012Validator:
    # The components go along, so that the references resolve.
    return Draft202012Validator({**schema, "components": document["components"]}, format_checker=FormatChecker())


def resolve(document: dict, node: dict) -> dict:
    while "$ref" in node:
        place = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            place = place[step]
        node = place
    return node


def documented_path(document: dict, path: str) -> str:
    """The template that the path matches; one without placeholders goes first, as it does in Flask."""
    for template in sorted(document["paths"], key=lambda t: t.count("{")):
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
            return template
    raise AssertionError(f"{path} is not in the document")


def operations(document: dict):
    for path, item in document["paths"].items():
        for method in item.keys() & METHODS:
            yield path, method, item[method]


def test_the_document_is_openapi(document):
    validate_document(document)


def test_every_route_is_in_the_document_and_nothing_else_is(app, document):
    def nameless(path: str) -> str:
        return re.sub(r"<[^>]+>|{[^}]+}", "{}", path)

    routes = {
        (nameless(rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if not rule.endpoint.startswith("swagger_ui.")
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert {(nameless(path), method) for path, method, _ in operations(document)} == routes


def test_every_placeholder_is_a_parameter(document):
    for path, method, operation in operations(document):
        parameters = [resolve(document, parameter) for parameter in operation["parameters"]]
        named = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path)), f"{method} {path}"


def test_operation_ids_are_unique_and_tags_declared(document):
    found = [operation for _, _, operation in operations(document)]
    assert len({operation["operationId"] for operation in found}) == len(found)
    assert {tag for operation in found for tag in operation["tags"]} == {tag["name"] for tag in document["tags"]}


def test_every_component_is_used(document):
    text = json.dumps(document)
    for kind, components in document["components"].items():
        if kind == "securitySchemes":
            continue
        for name in components:
            assert f'"#/components/{kind}/{name}"' in text, f"{kind} {name}"


def test_patterns_are_those_of_every_language(document):
    # Python's \Z and (?i) mean nothing to ECMA 262.
    for pattern in re.findall(r'"pattern": "([^"]*)"', json.dumps(document)):
        assert re.fullmatch(r"\^[^\\?]+\$", pattern), pattern


def test_the_contract_of_a_reading_is_in_the_document(document):
    vehicle_reading = document["components"]["schemas"]["VehicleReading"]
    assert sorted(vehicle_reading["required"]) == ["batteryTemp", "kwhDeliveredDc", "timestamp", "vehicleId"]
    properties = vehicle_reading["properties"]
    assert properties["vehicleId"]["pattern"] == "^[A-Za-z0-9._:-]{1,64}$"
    assert properties["timestamp"]["format"] == "date-time"
    assert properties["soc"]["type"] == ["number", "null"]
    assert (properties["soc"]["minimum"], properties["soc"]["maximum"]) == (0, 100)
    assert (properties["batteryTemp"]["minimum"], properties["batteryTemp"]["maximum"]) == (-60, 150)


# ── Examples ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_examples_of_bodies_are_valid_and_accepted(client, document, check, drain_all, given):
    for path, method, operation in operations(document):
        for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
            assert body["examples"], f"{method} {path} {media_type}"
            for example in body["examples"].values():
                value = example["value"]
                validator(document, body["schema"]).validate(value)
                data = value if isinstance(value, str) else json.dumps(value)
                answer = client.open(path.format(**given), method=method, data=data, content_type=media_type)
                # The first of several mappings is new, the same once more is not.
                success = [int(status) for status in operation["responses"] if status < "300"]
                assert answer.status_code in success, answer.text
                check(answer, answer.status_code)
                assert answer.json.get("rejected", 0) == 0
    drain_all()


def test_examples_of_parameters_and_fields_are_valid(document):
    def walk(node):
        if isinstance(node, list):
            for child in node:
                walk(child)
        if isinstance(node, dict):
            if "example" in node:
                validator(document, node).validate(node["example"])
            walk(list(node.values()))

    walk(document)


def test_examples_of_parameters_are_accepted(client, document, check, drain_all, alive, given):
    accepted = check(client.post("/v1/telemetry", json=[meter(), vehicle()]), 202)
    drain_all()
    given |= {"receipt": accepted.json["receipt"]}
    for path, method, operation in operations(document):
        if method != "get" or path == "/metrics":
            continue
        parameters = [resolve(document, parameter) for parameter in operation["parameters"]]
        query = {
            parameter["name"]: parameter["schema"]["example"]
            for parameter in parameters
            if parameter["in"] == "query" and "example" in parameter["schema"]
        }
        check(client.get(path.format(**given), query_string=query), 200)


# ── Answers ──────────────────────────────────────────────────────────────────────────────────────────────────


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
        check(client.get(f"/v1/{plural}/never-heard-of"), 404)
        check(client.get(f"/v1/{plural}/never-heard-of/history"), 404)


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
    check(client.get("/v1/analytics/performance/never-heard-of"), 404)
    check(client.get("/v1/analytics/performance/V001?from=yesterday"), 422)


def test_answers_about_alerts_are_as_documented(client, check, given, database):
    path = f"/v1/alerts/{given['alertId']}"
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


def test_answers_about_tariffs_are_as_documented(client, check, given, drain_all):
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
def test_what_is_not_in_the_document_has_the_error_shape_too(client, document, method, path, status):
    answer = client.open(path, method=method)
    assert answer.status_code == status
    validator(document, document["components"]["schemas"]["Error"]).validate(answer.json)


# ── The page ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_and_all_it_loads_come_from_here(client):
    page = client.get("/docs", follow_redirects=True)
    assert page.status_code == 200
    assert page.mimetype == "text/html"
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert any(name.endswith(".js") for name in named)
    for address in [*named, re.search(r'"url": "([^"]+)"', page.text)[1]]:
        assert address.startswith("/"), f"{address} is somewhere else"
        assert client.get(address).status_code == 200, address
    assert '"validatorUrl": null' in page.text
