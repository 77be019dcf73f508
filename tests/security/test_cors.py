"""CORS: which pages may read answers, and which methods a preflight allows."""

import pytest

from models.settings import SettingsError, load_settings

PAGE = "https://fleet.example.com"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}


@pytest.fixture
def cors_client(servers, resources, monkeypatch):
    from webapp import create_app

    monkeypatch.setenv("CORS_ORIGINS", f"{PAGE},http://localhost:3000")
    app = create_app()
    yield app.test_client()
    app.extensions["resources"].close()


def cors(answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers if name.startswith("Access-Control")}


def test_cors_is_off_by_default(client):
    for answer in (client.get("/", headers={"Origin": PAGE}), client.options("/v1/telemetry", headers=PREFLIGHT)):
        assert not cors(answer)


def test_an_allowed_origin_is_answered_by_its_name(cors_client):
    for method, path in (("GET", "/"), ("GET", "/nowhere"), ("POST", "/v1/telemetry")):
        answer = cors_client.open(path, method=method, headers={"Origin": PAGE})
        assert answer.headers.getlist("Access-Control-Allow-Origin") == [PAGE]
        assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "*", f"{PAGE}.evil.example", f"{PAGE}:8443", "http://fleet.example.com",
     "HTTPS://FLEET.EXAMPLE.COM", f"{PAGE},http://localhost:3000", f"{PAGE}/", ""],
)  # fmt: skip
def test_another_origin_is_not_answered(cors_client, origin):
    answer = cors_client.get("/", headers={"Origin": origin})
    assert not cors(answer)
    assert "Origin" in answer.headers["Vary"]
    assert not cors(cors_client.options("/v1/telemetry", headers={"Origin": origin, **PREFLIGHT}))


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/tariffs/depot", "DELETE, GET, PUT"),
        ("/v1/meters/M001", "GET, PUT"),
        ("/v1/telemetry", "POST"),
        ("/v1/analytics/vehicle-mapping", "DELETE, GET, POST"),
    ],
)
def test_a_preflight_allows_the_methods_of_its_path(cors_client, path, methods):
    answer = cors_client.options(path, headers={"Origin": PAGE, "Access-Control-Request-Method": "PUT"})
    assert cors(answer)["Access-Control-Allow-Methods"] == methods


def test_a_preflight_is_answered_without_a_key(servers, resources, monkeypatch):
    from webapp import create_app

    monkeypatch.setenv("CORS_ORIGINS", PAGE)
    monkeypatch.setenv("AUTH", "required")
    app = create_app()
    try:
        answer = app.test_client().options("/v1/telemetry", headers={"Origin": PAGE, **PREFLIGHT})
        assert (answer.status_code, answer.data) == (204, b"")
        allowed = cors(answer)
        assert allowed["Access-Control-Allow-Origin"] == PAGE
        assert "POST" in allowed["Access-Control-Allow-Methods"]
        assert "X-API-Key" in allowed["Access-Control-Allow-Headers"]
        assert app.test_client().post("/v1/telemetry", headers={"Origin": PAGE}).status_code == 401
    finally:
        app.extensions["resources"].close()


@pytest.mark.parametrize("value", ["*", "https://*.example.com", "fleet.example.com", f"{PAGE}/", f"{PAGE}, {PAGE}"])
def test_an_impossible_origin_is_a_wrong_setting(servers, monkeypatch, value):
    monkeypatch.setenv("CORS_ORIGINS", value)
    with pytest.raises(SettingsError, match="CORS_ORIGINS"):
        load_settings()
