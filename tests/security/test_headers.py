"""The security headers of every answer, and the policy of /docs."""

import re
import shutil
import subprocess

import pytest

from tests.factories import meter

EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
API = EVERYWHERE | {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


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


def test_errors_and_csv_have_the_security_headers(client, drain_all, monkeypatch):
    client.post("/v1/telemetry", json=meter())
    drain_all()
    answer = client.get("/v1/meters/M001/history", headers={"Accept": "text/csv"})
    assert answer.mimetype == "text/csv"
    assert API.items() <= dict(answer.headers).items()
    monkeypatch.setattr("models.analytics.energy.performance.get_performance", lambda *_, **__: 1 / 0)
    answer = client.get("/v1/analytics/performance/V001")
    assert answer.status_code == 500
    assert API.items() <= dict(answer.headers).items()


def test_docs_may_run_only_their_own_scripts(client):
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


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_the_docs_page_works_in_a_browser_under_its_policy(port, tmp_path):
    shown = subprocess.run(
        ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
         "--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom", f"http://127.0.0.1:{port}/docs/"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert 'data-path="/v1/telemetry"' in shown.stdout
    assert "Content Security Policy" not in shown.stderr


def test_redirects_name_no_host(client, with_settings):
    with_settings(allowed_hosts="evil.example")
    for path in ("/", "/docs", "/v1/meters/"):
        answer = client.get(path, headers={"Host": "evil.example", "Accept": "text/html", "X-Forwarded-Host": "evil"})
        assert "evil" not in answer.headers.get("Location", "")
        assert b"evil" not in answer.data
    assert client.get("/docs", headers={"Host": "evil.example"}).status_code == 308


@pytest.mark.parametrize("path", ["//v1/meters", "/v1//meters", "///health/live", "/v1/telemetry//receipts/1-1-1"])
def test_no_path_has_a_second_spelling(client, path):
    """A proxy's rules would not see it."""
    assert client.get("/", environ_overrides={"PATH_INFO": path}).status_code == 404
