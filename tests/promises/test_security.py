"""What a stranger may try: the tests behind docs/security.md that have no better place."""

import base64
import csv
import io
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import msgspec
import pytest

from devstack import programs
from models.settings import SettingsError, load_settings
from tests import ROOT
from tests.factories import meter, vehicle
from tests.processes import free_port, wait_until_live

EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
API = EVERYWHERE | {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


# ── Headers ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/metrics", 200),
        ("GET", "/health/live", 200),
        ("GET", "/v1/meters", 200),
        ("POST", "/v1/telemetry", 400),
        ("GET", "/nowhere", 404),
        ("PUT", "/v1/telemetry", 405),
        ("OPTIONS", "/v1/telemetry", 200),
        ("GET", "/v1/meters?limit=-1", 422),
    ],
)
def test_every_answer_has_the_security_headers_once(client, method, path, status):
    answer = client.open(path, method=method)
    assert answer.status_code == status
    for name, value in API.items():
        assert answer.headers.getlist(name) == [value], name


def test_an_unexpected_error_and_a_csv_have_them_too(client, drain_all, monkeypatch):
    client.post("/v1/telemetry", json=meter())
    drain_all()
    answer = client.get("/v1/meters/M001/history", headers={"Accept": "text/csv"})
    assert answer.mimetype == "text/csv"
    assert API.items() <= dict(answer.headers).items()
    monkeypatch.setattr("models.analytics.energy.performance.get_performance", lambda *_, **__: 1 / 0)
    answer = client.get("/v1/analytics/performance/V001")
    assert answer.status_code == 500
    assert API.items() <= dict(answer.headers).items()


def test_the_docs_may_run_their_own_script_and_no_other(client):
    page = client.get("/docs/")
    policy = page.headers.getlist("Content-Security-Policy")
    assert len(policy) == 1
    assert EVERYWHERE.items() <= dict(page.headers).items()
    scripts = re.search("script-src ([^;]*)", policy[0])[1]
    assert re.fullmatch(r"'self' 'sha256-[A-Za-z0-9+/]{43}='", scripts)
    assert "unsafe-eval" not in policy[0]
    assert "default-src 'none'" in policy[0]
    assert "frame-ancestors 'none'" in policy[0]
    for file in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert EVERYWHERE.items() <= dict(client.get(f"/docs/{file}").headers).items()


@pytest.mark.skipif(not shutil.which("chromium"), reason="there is no chromium to look with")
def test_the_docs_page_works_in_a_browser_under_its_policy(port, tmp_path):
    looked = subprocess.run(
        ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
         "--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom", f"http://127.0.0.1:{port}/docs/"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert 'data-path="/v1/telemetry"' in looked.stdout
    assert "Content Security Policy" not in looked.stderr


def test_no_answer_leads_to_a_host_that_the_request_named(client):
    for path in ("/", "/docs", "/v1/meters/"):
        answer = client.get(path, headers={"Host": "evil.example", "Accept": "text/html", "X-Forwarded-Host": "evil"})
        assert "evil" not in answer.headers.get("Location", "")


# ── CORS ─────────────────────────────────────────────────────────────────────────────────────────────────────────

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


def test_cors_is_off_unless_asked_for(client):
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
def test_an_origin_that_no_browser_sends_stops_the_start(servers, monkeypatch, value):
    monkeypatch.setenv("CORS_ORIGINS", value)
    with pytest.raises(SettingsError, match="CORS_ORIGINS"):
        load_settings()


# ── Injection ────────────────────────────────────────────────────────────────────────────────────────────────────

SQL = "x' or 1=1; drop table dead_letters; --"


def packed(*key) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(key)).decode().rstrip("=")


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (f"/v1/meters/{SQL}", {}),
        (f"/v1/vehicles/{SQL}/history", {}),
        (f"/v1/telemetry/receipts/{SQL}", {}),
        (f"/v1/analytics/performance/{SQL}", {}),
        ("/v1/analytics/vehicle-mapping", {"vehicleId": SQL}),
        ("/v1/meters", {"cursor": SQL}),
        ("/v1/meters", {"cursor": packed(SQL)}),
        ("/v1/meters", {"cursor": packed({"a": 1})}),
        ("/v1/meters", {"cursor": packed(*range(10_000))}),
        ("/v1/meters", {"limit": "1; drop table dead_letters"}),
        ("/v1/meters", {"limit": "9" * 5000}),
        ("/v1/meters", {"online": SQL}),
        ("/v1/meters/M001/history", {"from": SQL}),
        ("/v1/meters/M001/history", {"cursor": packed(SQL, SQL)}),
    ],
)
def test_sql_in_any_place_is_refused_or_not_found(client, drain_all, database, path, query):
    client.post("/v1/telemetry", json=meter())
    drain_all()
    answer = client.get(path, query_string=query)
    assert answer.status_code in (404, 422), answer.text
    assert set(answer.json) >= {"statusCode", "requestId"}
    assert database.execute("select count(*) from meter_readings_history").fetchone() == (1,)


@pytest.mark.parametrize(
    "device", ["=1+1", "+A1", "@SUM(A1)", "=cmd|'/c calc'!A1", "a,b", 'a"b', "a\tb", "a\nb", "a b"]
)
def test_an_id_that_a_spreadsheet_would_run_is_refused(client, device):
    assert client.post("/v1/telemetry", json=meter(device)).status_code == 422


def test_a_cell_of_the_csv_can_hold_no_formula_that_does_anything(client, drain_all):
    # The one odd beginning that ids have is a minus: without brackets, ! and | a formula can call nothing.
    client.post("/v1/telemetry", json=vehicle("-A1:B2.c_3"))
    drain_all()
    answer = client.get("/v1/vehicles/-A1:B2.c_3/history", headers={"Accept": "text/csv"})
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert rows[1][0] == "-A1:B2.c_3"
    for cell in rows[1]:
        assert re.fullmatch(r"[A-Za-z0-9._:-]*", cell)


@pytest.mark.parametrize(
    "path",
    [
        "/%0d%0aSet-Cookie:%20a=1",
        "/docs/%0d%0aSet-Cookie:%20a=1",
        "/docs/../../models/settings.py",
        "/docs/%2e%2e/%2e%2e/models/settings.py",
        "//evil.example/%2e%2e",
    ],
)
def test_no_path_splits_a_header_or_leaves_its_folder(port, path):
    head, body = ask_raw(port, f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/csv\r\nConnection: close\r\n\r\n")
    assert b"set-cookie" not in head.lower()
    assert head.split(b" ")[1] in (b"404", b"422")
    assert b"DATABASE_URL" not in body


@pytest.mark.parametrize(
    "path", ["/v1/meters/x%0d%0aSet-Cookie:%20a=1/history", "/v1/meters?cursor=%0d%0aSet-Cookie:%20a=1"]
)
def test_no_parameter_splits_a_header(client, path):
    answer = client.get(path, headers={"Accept": "text/csv"})
    assert answer.status_code in (404, 422)
    assert "Set-Cookie" not in answer.headers


def test_no_header_that_comes_back_splits_the_answer(port):
    for forged in ("a\r\n Set-Cookie: a=1", "a\rSet-Cookie: a=1", "a\x0bSet-Cookie: a=1", "a\x85Set-Cookie: a=1"):
        request = f"GET / HTTP/1.1\r\nHost: x\r\nX-Request-ID: {forged}\r\nConnection: close\r\n\r\n"
        head, _ = ask_raw(port, request)
        assert b"set-cookie" not in head.lower(), forged


# ── Too large, too slow ──────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def granian(flags: dict[str, str], **environment):
    port = free_port()
    command = programs.granian(SimpleNamespace(host="127.0.0.1", port=port, web_workers=1))
    for name, value in flags.items():
        command[command.index(name) + 1] = value
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "webapp:create_app"], cwd=ROOT, env=os.environ | environment
    )
    try:
        wait_until_live(port)
        yield port
    finally:
        process.terminate()
        process.wait(15)


@pytest.fixture(scope="module")
def port(servers):
    """granian with the flags of `make up`, but for a patience of one second; keys are required."""
    with granian({"--http1-header-read-timeout": "1000"}, AUTH="required") as port:
        yield port


def ask_raw(port: int, request: str) -> tuple[bytes, bytes]:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request.encode("latin-1"))
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


@pytest.mark.parametrize(
    "sent",
    [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"],
    ids=["silent", "slow line", "slow headers", "idle after an answer"],
)
def test_a_connection_that_sends_no_headers_is_closed(port, sent):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent)
        while connection.recv(65536):
            pass  # ends where the server closes; a timeout fails the test


def test_slow_bodies_of_strangers_hold_nobody_up(port):
    head = b"POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    slow = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(32)]  # four for each thread
    try:
        for connection in slow:
            connection.sendall(head)
        for connection in slow:
            assert connection.recv(65536).startswith(b"HTTP/1.1 401 "), "refused before the body is read"
        head, _ = ask_raw(port, "GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize(
    "extra", [f"X-Long: {'x' * 200_000}\r\n", "".join(f"X-{n}: 1\r\n" for n in range(150))], ids=["long", "many"]
)
def test_headers_are_bounded(port, extra):
    head, _ = ask_raw(port, f"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{extra}\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("limit", ["0", "1001", "1e9", "-1"])
def test_pages_are_bounded(client, limit):
    assert client.get("/v1/meters", query_string={"limit": limit}).status_code == 422


def test_windows_are_bounded(client, drain_all):
    client.post("/v1/telemetry", json=vehicle())
    drain_all()
    window = {"from": "2026-01-01T00:00:00Z", "to": "2026-02-02T00:00:00Z"}
    assert client.get("/v1/analytics/performance/V001", query_string=window).status_code == 422


# ── Dependencies and documents ───────────────────────────────────────────────────────────────────────────────────


def test_no_dependency_has_a_known_vulnerability():
    audit = subprocess.run([sys.executable, "deploy/audit.py"], cwd=ROOT, capture_output=True, text=True)
    if skipped := re.search(r"^audit: skipped: .*", audit.stdout, re.MULTILINE):
        pytest.skip(skipped[0])
    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_every_test_that_the_security_page_names_exists():
    page = (ROOT / "docs/security.md").read_text()
    named = re.findall(r"`(tests/)?(test_\w+\.py)::(\w+)`", page)
    assert len(named) > 30
    for _, file, name in named:
        (path,) = (ROOT / "tests").rglob(file)
        assert re.search(rf"^def {name}\(", path.read_text(), re.MULTILINE), f"{file}::{name}"


def test_every_threat_names_a_test():
    section = (ROOT / "docs/security.md").read_text().split("## Threats")[1].split("\n## ")[0]
    threats = re.split(r"^- ", section, flags=re.MULTILINE)[1:]
    assert len(threats) >= 25
    for threat in threats:
        assert "::test_" in threat, threat


def test_the_bounds_in_the_security_page_are_those_of_the_code(servers):
    page = (ROOT / "docs/security.md").read_text().split("## Bounds")[1].split("\n## ")[0]
    settings = load_settings()
    flags = programs.granian(SimpleNamespace(host="x", port=1, web_workers=1))
    for name, value in {
        "MAX_BODY_BYTES": settings.max_body_bytes,
        "MAX_BATCH_READINGS": settings.max_batch_readings,
        "STREAM_MAX_ENTRIES": settings.stream_max_entries,
        "DB_TIMEOUT_SECONDS": settings.db_timeout_seconds,
        "--http1-buffer-size": flags[flags.index("--http1-buffer-size") + 1],
        "--http1-header-read-timeout": flags[flags.index("--http1-header-read-timeout") + 1],
        "--backpressure": flags[flags.index("--backpressure") + 1],
        "--blocking-threads": flags[flags.index("--blocking-threads") + 1],
    }.items():
        row = re.search(rf"^\| .*`{name}`.*$", page, re.MULTILINE)
        assert row, name
        assert re.search(rf"\b{value:g}\b" if isinstance(value, float) else rf"\b{value}\b", row[0].replace(",", "")), (
            name
        )


def test_secrets_are_not_in_the_repository():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert ".env" not in tracked
    example = (ROOT / ".env.example").read_text()
    assert re.search(r"^POSTGRES_PASSWORD=$", example, re.MULTILINE), "there is no default password"
