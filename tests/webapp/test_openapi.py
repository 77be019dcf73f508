"""The OpenAPI document: complete, valid, and with examples that the service accepts."""

import json
import re

from openapi_spec_validator import validate as validate_document

from tests.factories import meter, vehicle
from tests.webapp.documents import operations, resolve, validator
from webapp.http.operations import Operation


def test_the_document_is_openapi(document):
    validate_document(document)


def test_the_document_has_exactly_the_routes_of_the_service(app, document):
    def nameless(path: str) -> str:
        return re.sub(r"<[^>]+>|{[^}]+}", "{}", path)

    routes = {
        (nameless(rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if not rule.endpoint.startswith("swagger_ui.")
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert {(nameless(path), method) for path, method, _ in operations(document)} == routes


def test_every_route_is_declared_on_its_view(app):
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        assert isinstance(view, Operation), f"{rule.rule} is not declared: see webapp/http/operations.py"
        assert view.summary or not view.documented, rule.rule
        # The arguments from the path are annotated, and with that documented and checked.
        assert view.path.keys() >= rule.arguments or not view.documented, rule.rule


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


def test_patterns_are_valid_in_ecma_262(document):
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


def test_a_stored_reading_has_the_bounds_of_one_that_is_posted(document):
    schemas = document["components"]["schemas"]
    bounds = ("minimum", "maximum")
    for kind in ("Meter", "Vehicle"):
        posted, stored = schemas[f"{kind}Reading"]["properties"], schemas[f"Stored{kind}Reading"]["properties"]
        for name in posted.keys() & stored.keys() - {"timestamp"}:
            # A value that may be null is an alternative to null.
            number = next((shape for shape in stored[name].get("anyOf", ()) if shape != {"type": "null"}), stored[name])
            assert [posted[name].get(bound) for bound in bounds] == [number.get(bound) for bound in bounds], name


# ── Examples ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_examples_of_bodies_are_valid_and_accepted(client, document, check, drain_all, path_values, with_settings):
    with_settings(session_max_days=100_000)  # the examples are of the past
    for path, method, operation in operations(document):
        for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
            assert body["examples"], f"{method} {path} {media_type}"
            for example in body["examples"].values():
                value = example["value"]
                validator(document, body["schema"]).validate(value)
                data = value if isinstance(value, str) else json.dumps(value)
                answer = client.open(path.format(**path_values), method=method, data=data, content_type=media_type)
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


def test_examples_of_parameters_are_accepted(client, document, check, drain_all, alive, path_values):
    accepted = check(client.post("/v1/telemetry", json=[meter(), vehicle()]), 202)
    drain_all()
    path_values |= {"receipt": accepted.json["receipt"]}
    for path, method, operation in operations(document):
        if method != "get" or path == "/metrics":
            continue
        parameters = [resolve(document, parameter) for parameter in operation["parameters"]]
        query = {
            parameter["name"]: parameter["schema"]["example"]
            for parameter in parameters
            if parameter["in"] == "query" and "example" in parameter["schema"]
        }
        check(client.get(path.format(**path_values), query_string=query), 200)


# ── The page ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_loads_only_files_of_this_service(client):
    page = client.get("/docs", follow_redirects=True)
    assert page.status_code == 200
    assert page.mimetype == "text/html"
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert any(name.endswith(".js") for name in named)
    for address in [*named, re.search(r'"url": "([^"]+)"', page.text)[1]]:
        assert address.startswith("/"), f"{address} is somewhere else"
        assert client.get(address).status_code == 200, address
    assert '"validatorUrl": null' in page.text
