"""Logs hold no secrets, and no value forges a line."""

import json
import re
from types import SimpleNamespace

import pytest
import structlog

from models.observability import logs
from tests.factories import meter
from tests.observability.log_output import FORMATS, serving, worker_prints

pytestmark = pytest.mark.slow

SECRET = "s3cr3t-d0-n0t-l0g"
AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \[")


@pytest.fixture(scope="module", params=FORMATS)
def server(request, servers, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("logs"), LOG_FORMAT=request.param) as running:
        yield running


# ── No secrets ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_key_no_body_and_no_query_is_logged(server, resources):
    headers = {
        "Authorization": f"Bearer {SECRET}",
        "X-API-Key": SECRET,
        "Cookie": f"session={SECRET}",
        "Idempotency-Key": SECRET,
        "User-Agent": SECRET,
        "Referer": f"http://x/{SECRET}",
        "Origin": f"http://{SECRET}",
        "X-Request-ID": f"not plain {SECRET}",
    }
    for path in ("/v1/telemetry", "/nowhere", "/v1/meters"):
        for body in (json.dumps({"secret": SECRET}), f'{{"{SECRET}', json.dumps([meter(SECRET, voltage=SECRET)])):
            server.ask("POST", f"{path}?api_key={SECRET}&atomic={SECRET}", body=body, headers=headers)
            server.ask("GET", f"{path}?api_key={SECRET}&cursor={SECRET}", headers=headers)
    printed = server.printed()
    assert sum("request" in line for line in printed) >= 18
    assert not [line for line in printed if SECRET in line]


def test_the_passwords_of_the_servers_are_not_logged(servers, tmp_path):
    unavailable = {
        "DATABASE_URL": f"postgresql://energy:{SECRET}@127.0.0.1:1/energy",
        "REDIS_URL": re.sub(r"//[^@]*@", f"//energy:{SECRET}@", servers.redis_url),
    }
    with serving(tmp_path, LOG_FORMAT="json", **unavailable) as server:
        headers = {"X-Request-ID": "unavailable"}
        assert server.ask("GET", "/v1/vehicles", headers=headers).status == 503
        assert server.ask("POST", "/v1/telemetry", json=meter(), headers=headers).status == 503
        server.ask("GET", "/health/ready")
        failures = [event for event in server.events_of("unavailable", 4) if event["event"] != "request"]
        assert {event["level"] for event in failures} == {"warning"}
        assert not [line for line in server.printed() if SECRET in line]
    assert not [line for line in worker_prints(until="Cannot connect to", **unavailable) if SECRET in line]


@pytest.fixture(params=FORMATS)
def log(request, tmp_path):
    """A logger of that format, and its lines."""
    written = []
    logger = structlog.wrap_logger(
        SimpleNamespace(info=written.append, error=written.append),
        processors=logs._processors(request.param),
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )
    return logger, written


def test_a_traceback_shows_no_local_variables(log):
    logger, written = log
    password = SECRET  # noqa: F841 - what must not be seen
    try:
        int("no number")
    except ValueError:
        logger.error("failed", exc_info=True)
    assert "no number" in written[0]
    assert "test_a_traceback_shows_no_local_variables" in written[0]
    assert SECRET not in written[0]


def test_a_password_within_a_url_is_hidden(log):
    logger, written = log
    urls = [f"postgresql://energy:{SECRET}@db/energy", f"redis://:{SECRET}@redis:6379/0", f"amqp://u:a@{SECRET}@h"]
    logger.info(f"event {urls[0]}", reason=f"can't reach {urls[1]}", urls=urls)
    try:
        raise ValueError(urls[2])
    except ValueError:
        logger.error("failed", exc_info=True)
    assert len(written) == 2
    assert "postgresql://energy:***@db/energy" in written[0]
    assert not [line for line in written if SECRET in line]


# ── No forged lines ──────────────────────────────────────────────────────────────────────────────────────────────

FORGED = "\n2026-01-01T00:00:00.000000Z [info     ] forged\r\n\x1b[31m\x1b]0;title\x07\x9b2J\u2028\u202e\x00"


def is_whole(line: str, form: str) -> bool:
    """Whether the line is an event or marked as part of a traceback, without control characters."""
    if any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c in "\u2028\u2029\u202e" for c in line):
        return False
    return line.startswith("{") and bool(json.loads(line)) if form == "json" else bool(AT.match(line) or "  | " in line)


@pytest.mark.parametrize("form", FORMATS)
def test_no_value_starts_a_line_or_controls_a_terminal(form):
    written = []
    logger = structlog.wrap_logger(
        SimpleNamespace(error=written.append),
        processors=logs._processors(form),
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )
    logger.error(f"event {FORGED}", value=FORGED, values=[FORGED], more={"key": FORGED}, raw=FORGED.encode())
    try:
        raise ValueError(FORGED)
    except ValueError:
        logger.error("failed", exc_info=True, half="\udc80")
    lines = "\n".join(written).split("\n")
    assert len(lines) >= 2
    assert all(is_whole(line, form) for line in lines), lines
    assert not any(line.startswith("2026-01-01") for line in lines)


def test_no_request_starts_a_line_of_its_own(server):
    forged = b"forged\\n%0a%0d%1b[31m%c2%9b2J%e2%80%a8"
    end = b"Connection: close\r\n\r\n"
    attempts = [
        b"GET /" + forged + b" HTTP/1.1\r\nHost: x\r\n" + end,
        b"GET /v1/meters/" + forged + b" HTTP/1.1\r\nHost: x\r\n" + end,
        b"GET /\x1b[31m\xc2\x9b HTTP/1.1\r\nHost: x\r\n" + end,
        b"FORGED\x1b /nowhere HTTP/1.1\r\nHost: x\r\n" + end,
        b"F!#$%&'*+.^_`|~ /nowhere HTTP/1.1\r\nHost: x\r\n" + end,
        b"GET /nowhere HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\x1b[31m\xff\r\n" + end,
        b"GET /nowhere HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\n forged: folded\r\n" + end,
        b"GET /nowhere HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\nX-Forged: 1\r\n" + end,
        b"POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Type: a\x1b/b\xff\r\nContent-Length: 0\r\n" + end,
        b"POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Encoding: \xc2\x9b2J\r\nContent-Length: 0\r\n" + end,
    ]
    for attempt in attempts:
        assert server.send(attempt).startswith(b"HTTP/1.1 "), attempt
    server.ask("GET", "/v1/meters", headers={"X-Request-ID": "after-them"})
    lines = server.printed()
    assert sum("nowhere" in line or "forged" in line for line in lines) >= 3
    assert all(is_whole(line, server.format) for line in lines), [li for li in lines if not is_whole(li, server.format)]
