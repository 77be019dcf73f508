"""With AUTH=off a foreign page in a browser on this machine can neither write nor read."""

import json
from dataclasses import replace

import pytest

from tests.factories import bearer, meter
from tests.webapp.documents import operations
from webapp import create_app

EVIL = "https://evil.example"
PAGE = "https://fleet.example"
FOREIGN = {
    "another origin": {"Origin": EVIL},
    "a page without an origin": {"Origin": "null"},
    "another port of this machine": {"Origin": "http://localhost:3000"},
    "an origin that begins alike": {"Origin": "http://localhost.evil.example"},
    "cross-site": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
    "same-site": {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    "a frame": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    "a name pointed at this machine": {"Host": "evil.example:8000"},
    "such a name as its own origin": {"Host": "evil.example:8000", "Origin": "http://evil.example:8000"},
    "a name that looks like an address": {"Host": "127.0.0.1.evil.example"},
    "a name that ends alike": {"Host": "notlocalhost"},
    "no address": {"Host": "[::1"},
    "no name at all": {"Host": ":8000"},
}
OWN = {
    "no browser": {},
    "an address": {"Host": "127.0.0.1:8000"},
    "another address": {"Host": "192.0.2.7"},
    "an IPv6 address": {"Host": "[::1]:8000"},
    "its own page": {"Host": "localhost:8000", "Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"},
    "its own page behind TLS": {"Host": "localhost", "Origin": "https://localhost"},
    "an address typed in": {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
}


@pytest.fixture(autouse=True)
def _drained(drain_all):
    yield
    drain_all()


@pytest.fixture(params=["fast", "flask"])
def post(client, request):
    """Posts a reading through one of the doors of ingest, as a page does that needs no preflight."""
    query = {"fast": "", "flask": "?atomic=true"}[request.param]
    return lambda headers: client.post(f"/v1/telemetry{query}", data=json.dumps(meter()), headers=headers)


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_page_posts_nothing(post, count, drain_all, name):
    answer = post(FOREIGN[name])
    assert answer.status_code == 403
    assert "ALLOWED_HOSTS" in answer.json["message"] or "CORS_ORIGINS" in answer.json["message"]
    drain_all()
    assert count("meter_readings_history") == 0


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_page_reads_and_changes_nothing(client, name):
    document = client.get("/openapi.json").json
    for path, method, _ in operations(document):
        answer = client.open(path.replace("{", "").replace("}", ""), method=method, json={}, headers=FOREIGN[name])
        assert answer.status_code == 403, f"{method} {path}"
    for path in ("/docs/", "/nowhere"):
        assert client.get(path, headers=FOREIGN[name]).status_code == 403


@pytest.mark.parametrize("name", OWN)
def test_devices_and_its_own_pages_are_answered(client, post, name):
    assert post(OWN[name]).status_code == 202
    assert client.get("/v1/meters", headers=OWN[name]).status_code == 200


def test_a_person_may_follow_a_link_to_the_documentation(client):
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.get("/docs/", headers=visit).status_code == 200
    assert client.post("/v1/telemetry", json=meter(), headers=visit).status_code == 403


def test_names_and_origins_can_be_allowed(resources):
    app = create_app(replace(resources.settings, cors_origins=PAGE, allowed_hosts="energy.example,web"))
    client = app.test_client()
    try:
        for headers, status in (
            ({"Host": "web:8000"}, 202),
            ({"Host": "Energy.example."}, 202),
            ({"Host": "energy.example", "Origin": "https://energy.example"}, 202),
            ({"Host": "other.example"}, 403),
            ({"Host": "web", "Origin": PAGE, "Sec-Fetch-Site": "cross-site"}, 202),
            ({"Host": "web", "Origin": EVIL}, 403),
        ):
            assert client.post("/v1/telemetry", json=meter(), headers=headers).status_code == status, headers
    finally:
        app.extensions["resources"].close()


def test_with_keys_pages_are_not_refused(client, new_key):
    """A page needs a key then, and browsers have none."""
    headers = bearer(new_key("admin"))
    for each in FOREIGN.values():
        assert client.post("/v1/telemetry", json=meter(), headers=headers | each).status_code == 202
        assert client.post("/v1/telemetry", json=meter(), headers=each).status_code == 401
