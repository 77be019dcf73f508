"""Which requests a key lets in, by its text and its scopes."""

import re
from datetime import timedelta

import pytest

from models.access.keys import revoke_key, split_key
from models.settings import SettingsError, load_settings
from tests.factories import bearer, meter, post_with_key

TELEMETRY = "/v1/telemetry"
MAPPING = "/v1/analytics/vehicle-mapping"


@pytest.fixture(autouse=True)
def _drained(drain_all):
    yield
    drain_all()


def test_a_valid_key_is_required(client, new_key):
    text = new_key("ingest")
    assert post_with_key(client, text).status_code == 202
    assert client.post(TELEMETRY, json=meter(), headers={"X-API-Key": text}).status_code == 202
    answer = client.post(TELEMETRY, json=meter())
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert {"statusCode", "path", "message", "timestamp", "requestId"} == set(answer.json)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "BeArEr"])
def test_the_scheme_is_read_in_any_case(client, new_key, scheme):
    assert (
        client.post(TELEMETRY, json=meter(), headers={"Authorization": f"{scheme} {new_key('ingest')}"}).status_code
        == 202
    )


def test_every_refusal_is_the_same(client, new_key, database, refresh):
    """The answer does not show which keys exist or existed, nor what is wrong with the one sent."""
    good, expired, revoked = new_key("ingest"), new_key("ingest", lasts=timedelta(seconds=-1)), new_key("ingest")
    revoke_key(database, split_key(revoked)[0])
    refresh()
    key_id, secret = good.split("_", 2)[1:]
    other_id = new_key("ingest").split("_", 2)[1]
    wrong = [
        f"eie_{key_id}_{secret[:-1]}",
        f"eie_{key_id}_{secret}x",
        f"eie_{key_id}_{secret.swapcase()}",
        f"eie_{other_id}_{secret}",
        f"eie_{'0' * 12}_{secret}",
        f"EIE_{key_id}_{secret}",
        f"eie_{key_id.upper() + 'A'}_{secret}",
        f"eie_{key_id}_",
        f"eie__{secret}",
        "eie__",
        "eie",
        "",
        key_id,
        secret,
        expired,
        revoked,
        "x" * 50_000,
        good + " " * 200 + "x",
        f"eie_{key_id}_{'x' * 20_000}",
        "é" * 40,
        f"eie_{key_id}_\xff\xfe",
        "' or 1=1 --",
        "\u0000".encode("unicode_escape").decode(),
        f"{good},{good}",
    ]
    bodies = set()
    for text in wrong:
        for headers in (bearer(text), {"X-API-Key": text}):
            answer = client.post(TELEMETRY, json=meter(), headers=headers)
            assert answer.status_code == 401, text[:80]
            bodies.add(answer.json["message"])
            assert not text or text not in answer.text
    assert len(bodies) == 1
    assert post_with_key(client, good).status_code == 202


@pytest.mark.parametrize("scheme", ["Basic", "Token", "", "Bearer Bearer", "Digest"])
def test_another_scheme_is_refused(client, new_key, scheme):
    text = new_key("ingest")
    assert client.post(TELEMETRY, json=meter(), headers={"Authorization": f"{scheme} {text}"}).status_code == 401


def test_two_different_keys_are_refused(client, new_key):
    one, two = new_key("ingest"), new_key("ingest")
    assert client.post(TELEMETRY, json=meter(), headers=bearer(one) | {"X-API-Key": two}).status_code == 401
    assert client.post(TELEMETRY, json=meter(), headers=bearer(one) | {"X-API-Key": one}).status_code == 202
    assert (
        client.post(TELEMETRY, json=meter(), headers={"Authorization": "Basic eDp5", "X-API-Key": one}).status_code
        == 401
    )


@pytest.mark.parametrize("path", ["/", "/health/live", "/health/ready", "/openapi.json", "/docs/"])
def test_public_routes_need_no_key(client, refresh, path):
    assert client.get(path).status_code in (200, 503)


def test_every_other_route_needs_a_key(app, client, refresh):
    """A new route needs one too."""
    checked = 0
    for rule in app.url_map.iter_rules():
        for method in rule.methods - {"OPTIONS"}:
            if app.view_functions[rule.endpoint].scopes:
                path = re.sub("<[^>]+>", "x", rule.rule)
                assert client.open(path, method=method).status_code == 401, f"{method} {path}"
                checked += 1
    assert checked > 20


def test_scopes_are_those_of_the_document(client, new_key):
    keys = {scope: new_key(scope) for scope in ("ingest", "read", "admin")}
    paths = client.get("/openapi.json").json["paths"]
    secured = 0
    for path, item in paths.items():
        for method, operation in item.items():
            needed = {scope for way in operation["security"] for scopes in way.values() for scope in scopes}
            for scope, text in keys.items():
                address = re.sub(r"{\w+}", "x", path)
                answer = client.open(address, method=method, headers=bearer(text), data="x", content_type="a/b")
                may = not needed or scope in needed or scope == "admin"
                assert (answer.status_code != 403) == may, f"{method} {path} with {scope}: {answer.text}"
                assert answer.status_code != 401
            secured += bool(needed)
    assert secured > 20


def test_a_missing_scope_is_named(client, new_key):
    answer = post_with_key(client, new_key("read"))
    assert (answer.status_code, answer.json["message"]) == (403, "This key lacks the scope `ingest`")
    answer = client.post(MAPPING, json={"vehicleId": "V1", "meterId": "M1"}, headers=bearer(new_key("read")))
    assert (answer.status_code, answer.json["message"]) == (403, "This key lacks the scope `admin`")


def test_a_service_without_keys_must_be_confirmed(servers, monkeypatch):
    monkeypatch.setenv("AUTH", "off")
    assert load_settings().auth == "off"
    for insecure in ("0", None):
        monkeypatch.setenv("ALLOW_INSECURE", insecure) if insecure else monkeypatch.delenv("ALLOW_INSECURE")
        with pytest.raises(SettingsError, match=r"(?s)AUTH.*energy keys create.*ALLOW_INSECURE=1"):
            load_settings()
    monkeypatch.delenv("AUTH")
    assert load_settings().auth == "required"
