"""Logs: one event a line, in one format from every process, and neither secrets nor forged lines in them."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import structlog
import urllib3

from devstack import programs
from models.access.keys import Rights, create_key
from models.observability import logs
from tests import ROOT
from tests.factories import ago, meter, stamp
from tests.processes import free_port, wait_until_live

FORMATS = ("json", "console")
SECRET = "s3cr3t-d0-n0t-l0g"
AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \[")


class Server:
    """granian as `make up` runs it, with what it printed."""

    def __init__(self, port: int, path):
        self.port, self._path = port, path

    def ask(self, method: str, path: str, **given):
        return urllib3.request(method, f"http://127.0.0.1:{self.port}{path}", retries=False, timeout=20, **given)

    def send(self, raw: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(raw)
            answer = b""
            while part := connection.recv(65536):
                answer += part
        return answer

    def printed(self) -> list[str]:
        return self._path.read_text().splitlines()

    def events(self) -> list[dict]:
        return [json.loads(line) for line in self.printed()]

    def events_of(self, request_id: str, count: int = 1) -> list[dict]:
        """All lines of one request; the last is written before the answer is, so none can be missing."""
        found = [event for event in self.events() if event.get("request_id") == request_id]
        assert len(found) >= count, found
        return found


@contextmanager
def serving(folder, **environment):
    port = free_port()
    path = folder / f"{port}.log"
    command = programs.granian(SimpleNamespace(host="127.0.0.1", port=port, web_workers=1))
    with path.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "webapp:create_app"],
            cwd=ROOT,
            env=os.environ | {"LOG_LEVEL": "INFO", "LOG_REQUESTS": "all"} | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_live(port)
        yield Server(port, path)
    finally:
        process.terminate()
        process.wait(15)


@pytest.fixture(scope="module", params=FORMATS)
def server(request, servers, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("logs"), LOG_FORMAT=request.param) as running:
        running.format = request.param
        yield running


@pytest.fixture(scope="module")
def json_server(servers, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("logs"), LOG_FORMAT="json") as running:
        yield running


# ── One line a request ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_is_one_line_that_says_what_came_of_it(json_server, resources, drain_all):
    answer = json_server.ask(
        "POST",
        "/v1/telemetry?atomic=false",
        json=[meter("M-private"), meter("M-private", voltage=-1)],
        headers={"X-Request-ID": "one-line"},
    )
    assert answer.status == 202
    (line,) = json_server.events_of("one-line")
    assert 0 <= line.pop("seconds") < 60
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("timestamp"))
    assert line == {
        "event": "request",
        "level": "info",
        "request_id": "one-line",
        "method": "POST",
        "route": "/v1/telemetry",
        "status": 202,
        "accepted": 1,
        "rejected": 1,
    }
    drain_all()


def test_the_line_names_the_route_and_the_path_only_of_what_was_refused(json_server):
    json_server.ask("GET", "/v1/meters/M-nobody?limit=1", headers={"X-Request-ID": "refused"})
    (line,) = json_server.events_of("refused")
    assert (line["route"], line["status"]) == ("/v1/meters/<meter_id>", 404)
    assert line["path"] == "/v1/meters/M-nobody"
    json_server.ask("GET", f"/nowhere/{'x' * 5000}", headers={"X-Request-ID": "unmatched"})
    (line,) = json_server.events_of("unmatched")
    assert (line["route"], line["status"], len(line["path"])) == ("unmatched", 404, 200)
    json_server.ask("GET", "/v1/meters", headers={"X-Request-ID": "served"})
    assert "path" not in json_server.events_of("served")[0]


def test_the_line_names_the_key_by_its_id(servers, database, tmp_path):
    text = create_key(database, Rights("logged", ("read",)))
    with serving(tmp_path, AUTH="required") as guarded:
        guarded.ask("GET", "/v1/meters", headers={"X-Request-ID": "keyed", "X-API-Key": text})
        guarded.ask("GET", "/v1/meters", headers={"X-Request-ID": "keyless", "X-API-Key": text[:-1]})
        keyed, keyless = guarded.events_of("keyed")[0], guarded.events_of("keyless")[0]
        key_id = str(database.execute("select id from api_keys").fetchone()[0])
        assert (keyed["status"], keyed["key_id"]) == (200, key_id)
        assert keyless["status"] == 401
        assert "key_id" not in keyless
        secret = text.split("_", 2)[2]
        assert not [line for line in guarded.printed() if secret[:8] in line]


def test_a_repeat_adds_no_readings_to_the_log(json_server, resources, drain_all):
    reading, key = meter(), {"Idempotency-Key": "logged-once"}
    for name in ("first", "again"):
        json_server.ask("POST", "/v1/telemetry", json=reading, headers={"X-Request-ID": name, **key})
    assert [json_server.events_of(name)[0]["accepted"] for name in ("first", "again")] == [1, 0]
    drain_all()


def test_requests_that_went_well_can_be_left_out(servers, tmp_path):
    with serving(tmp_path, LOG_REQUESTS="errors") as quiet:
        quiet.ask("GET", "/", headers={"X-Request-ID": "well"})
        quiet.ask("GET", "/nowhere", headers={"X-Request-ID": "badly"})
        assert [e["status"] for e in quiet.events() if e["event"] == "request"] == [404]


def test_the_request_id_comes_back_whatever_was_sent(json_server):
    assert json_server.ask("GET", "/", headers={"X-Request-ID": "depot-7.42"}).headers["X-Request-ID"] == "depot-7.42"
    for odd in ("x" * 129, "a b", "a;b", '{"a":1}'):
        given = json_server.ask("GET", "/", headers={"X-Request-ID": odd}).headers["X-Request-ID"]
        assert re.fullmatch("[0-9a-f]{32}", given)
        json_server.events_of(given)


def test_an_id_does_not_stay_with_the_thread_that_served_it(json_server):
    for number in range(40):  # more than there are threads
        json_server.ask("GET", "/", headers={"X-Request-ID": f"turn-{number}"})
    for number in range(40):
        assert len(json_server.events_of(f"turn-{number}")) == 1


def test_a_dead_letter_carries_the_request_id(json_server, resources, database, drain_all):
    database.execute("alter table meter_readings_history add constraint no_odd check (meter_id <> 'ODD') not valid")
    try:
        json_server.ask("POST", "/v1/telemetry", json=meter("ODD"), headers={"X-Request-ID": "to-the-dead-letter"})
        drain_all()
        assert database.execute("select request_id from dead_letters").fetchall() == [("to-the-dead-letter",)]
    finally:
        database.execute("alter table meter_readings_history drop constraint no_odd")


# ── One format ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_granian_and_what_it_serves_log_in_one_format(json_server):
    json_server.ask("GET", "/")
    events = json_server.events()  # each line is JSON
    assert {"_granian", None} <= {event.get("logger") for event in events}
    assert all({"timestamp", "level", "event"} <= event.keys() for event in events)


def worker_prints(until: str, **environment) -> list[str]:
    """What a worker prints up to a line with these words."""
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", "--quiet", "-A", "workers", "worker", "--pool", "solo"],
        cwd=ROOT,
        # Celery says so to root before any log is set up.
        env=os.environ | {"LOG_LEVEL": "INFO", "PYTHONWARNINGS": "ignore:You're running the worker"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    impatience = threading.Timer(60, process.kill)
    impatience.start()
    printed = []
    for line in process.stdout:
        printed.append(line)
        if until in line:
            break
    process.terminate()
    process.communicate()
    impatience.cancel()
    assert any(until in line for line in printed), printed
    return printed


def test_celery_logs_in_the_same_format(resources):
    events = [json.loads(line) for line in worker_prints(until=" ready.", LOG_FORMAT="json")]
    assert any(event.get("logger", "").startswith("celery") for event in events)


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
    away = {
        "DATABASE_URL": f"postgresql://energy:{SECRET}@127.0.0.1:1/energy",
        # The embedded Redis has no password, and refuses one.
        "REDIS_URL": servers.redis_url.replace("redis://", f"redis://energy:{SECRET}@"),
    }
    with serving(tmp_path, LOG_FORMAT="json", **away) as server:
        headers = {"X-Request-ID": "away"}
        assert server.ask("GET", "/v1/vehicles", headers=headers).status == 503
        assert server.ask("POST", "/v1/telemetry", json=meter(), headers=headers).status == 503
        server.ask("GET", "/health/ready")
        failures = [event for event in server.events_of("away", 4) if event["event"] != "request"]
        assert {event["level"] for event in failures} == {"warning"}
        assert not [line for line in server.printed() if SECRET in line]
    assert not [line for line in worker_prints(until="Cannot connect to redis", **away) if SECRET in line]


@pytest.fixture(params=FORMATS)
def log(request, tmp_path):
    """A logger of that format, and what it wrote."""
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
    """Whether the line is an event, or marked as part of a traceback; and nothing in it steers a terminal."""
    if any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c in "\u2028\u2029\u202e" for c in line):
        return False
    return line.startswith("{") and bool(json.loads(line)) if form == "json" else bool(AT.match(line) or "  | " in line)


@pytest.mark.parametrize("form", FORMATS)
def test_no_value_begins_a_line_or_steers_a_terminal(form):
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


def test_nothing_a_stranger_sends_begins_a_line_of_its_own(server):
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


def test_a_stamp_of_the_reading_is_no_part_of_the_log(json_server, resources, drain_all):
    at = ago(minutes=7)
    json_server.ask("POST", "/v1/telemetry", json=meter("M-quiet", at))
    assert not [line for line in json_server.printed() if "M-quiet" in line or stamp(at) in line]
    drain_all()
