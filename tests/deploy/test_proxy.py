"""deploy/nginx/nginx.conf in a real nginx, before a real engine or a server of the test."""

import json
import re
import subprocess
import threading
from contextlib import ExitStack

import pytest

from models.settings import Settings
from tests.deploy.compose_file import compose, option
from tests.deploy.proxy import CONFIGURATION, engine_of_the_test, proxying
from tests.factories import meter
from tests.processes import serving, wait_until

pytestmark = pytest.mark.slow

JSON = {"Content-Type": "application/json"}
LIMIT = Settings.__dataclass_fields__["max_body_bytes"].metadata["setting"].default
SLOW = (
    b"POST /v1/telemetry HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n["
)


@pytest.fixture(scope="module")
def proxy(servers, tmp_path_factory):
    with serving() as port, proxying(tmp_path_factory.mktemp("proxy"), port) as proxy:
        yield proxy


def test_a_reading_is_accepted_through_tls(proxy, resources, drain_all, count):
    answer = proxy.request("POST", "/v1/telemetry", body=json.dumps(meter("M-proxy")), headers=JSON)
    assert (answer.status, answer.json()["accepted"]) == (202, 1)
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    drain_all()
    assert count("meter_readings_history") == 1


def test_slow_bodies_hold_no_thread_of_the_engine(proxy, drain_all):
    """The engine has 8 threads; a body that never ends would hold one."""
    with ExitStack() as open_connections:
        for _ in range(16):
            connection = open_connections.enter_context(proxy.connect())
            connection.sendall(SLOW)
        answer = proxy.request("POST", "/v1/telemetry", body=json.dumps(meter()), headers=JSON)
        assert answer.status == 202
    drain_all()


def test_a_body_above_the_bound_is_refused_in_the_form_of_the_engine(proxy, resources):
    answer = proxy.request("POST", "/v1/telemetry", body=b" " * (LIMIT + 1), headers=JSON)
    assert answer.status == 413
    body = answer.json()
    assert set(body) == {"statusCode", "path", "message", "timestamp", "requestId"}
    assert (body["statusCode"], body["path"], body["requestId"]) == (
        413,
        "/v1/telemetry",
        answer.headers["X-Request-ID"],
    )
    assert answer.headers["Strict-Transport-Security"]


def test_a_body_of_the_bound_reaches_the_engine(proxy, resources):
    answer = proxy.request("POST", "/v1/telemetry", body=b" " * LIMIT, headers=JSON)
    assert answer.status == 400
    assert "JSON" in answer.json()["message"]


def get_over_http_2(path: str, ends: bool = True) -> bytes:
    """One request in frames: the path as a literal, the rest by index (RFC 9113, RFC 7541)."""
    authority = b"localhost"
    headers = bytes([0x82, 0x87, 0x04, len(path)]) + path.encode() + bytes([0x01, len(authority)]) + authority
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # and empty SETTINGS
    return preface + len(headers).to_bytes(3, "big") + bytes([1, 4 + ends, 0, 0, 0, 1]) + headers


def test_http_2(proxy, resources):
    with proxy.connect("h2", "http/1.1") as connection:
        assert connection.selected_alpn_protocol() == "h2"
        connection.sendall(get_over_http_2("/health/live"))
        stream = connection.makefile("rb")
        kind = payload = None
        while kind != 1:
            head = stream.read(9)
            kind, payload = head[3], stream.read(int.from_bytes(head[:3], "big"))
        assert payload.lstrip(b"\x20\x3f\xe1\x1f")[0] == 0x88  # :status 200
    wait_until(lambda: any(line["protocol"] == "HTTP/2.0" for line in proxy.log()), "the line of the request")


def test_the_log_has_the_address_of_the_client_and_no_secret(proxy, resources):
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Request-ID": "seen-by-both", "Authorization": "Bearer s3cret"}
    answer = proxy.request("GET", "/v1/meters?cursor=s3cret", headers=headers)
    assert answer.headers["X-Request-ID"] == "seen-by-both"
    wait_until(lambda: any(line["request_id"] == "seen-by-both" for line in proxy.log()), "the line of the request")
    (line,) = [line for line in proxy.log() if line["request_id"] == "seen-by-both"]
    assert (line["client"], line["path"], line["status"]) == ("127.0.0.1", "/v1/meters", str(answer.status))
    assert "s3cret" not in (proxy.folder / "log").read_text()


def test_forwarded_headers_change_no_answer_of_the_engine(client):
    """The engine reads none of them, so that none has to be trusted."""
    forged = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http", "Forwarded": "host=evil.example"}
    for path in ("/docs", "/openapi.json", "/v1/meters/none", "/health/live"):
        plain, sent = (client.get(path, headers={"X-Request-ID": "one", **headers}) for headers in ({}, forged))
        changing = re.compile(rb'"timestamp":"[^"]*"')
        assert changing.sub(b"", sent.data) == changing.sub(b"", plain.data)
        assert sent.headers.get("Location") == plain.headers.get("Location")


# ── Before a server of the test ──────────────────────────────────────────────────────────────────────────────────


def test_what_a_client_sends_as_forwarded_does_not_reach_the_engine(tmp_path):
    received = []

    def answer(connection, head):
        received.append(head)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    forged = {
        "X-Forwarded-For": "203.0.113.7", "X-Forwarded-Host": "evil.example", "Forwarded": "for=203.0.113.7",
        "X-Forwarded-Proto": "http", "X_API_Key": "sneaked", "X-Request-ID": 'a"b',
    }  # fmt: skip
    with engine_of_the_test(answer) as port, proxying(tmp_path, port) as proxy:
        proxy.request("GET", "/", headers=forged)
    (head,) = received
    sent = dict(line.split(": ", 1) for line in head.lower().split("\r\n")[1:] if line)
    assert (sent["x-forwarded-for"], sent["x-forwarded-proto"], sent["host"]) == ("127.0.0.1", "https", "localhost")
    assert re.fullmatch("[0-9a-f]{32}", sent["x-request-id"])
    assert not {"x-forwarded-host", "forwarded", "x_api_key"} & set(sent)


@pytest.mark.parametrize("path", ["/v1/export/readings", "/v1/vehicles/V1/history"])
def test_exports_are_streamed(tmp_path, path):
    """The client has the beginning while the engine still writes."""
    goes_on = threading.Event()

    def answer(connection, head):
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"a" * 100_000)
        goes_on.wait(30)
        connection.sendall(b"z")

    with engine_of_the_test(answer) as port, proxying(tmp_path, port) as proxy:
        response = proxy.request("GET", path, preload_content=False)
        assert response.read(10_000) == b"a" * 10_000
        goes_on.set()
        assert response.read()[-1:] == b"z"


def test_an_engine_that_does_not_answer_is_504(tmp_path):
    def answer(connection, head):
        pass

    with engine_of_the_test(answer) as port, proxying(tmp_path, port) as proxy:
        response = proxy.request("POST", "/v1/telemetry?x=1", body=b"{}", headers=JSON)
        assert (response.status, response.json()["statusCode"], response.json()["path"]) == (504, 504, "/v1/telemetry")
        assert response.headers["Retry-After"] == "5"


def accept(connection, head):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def test_one_address_is_bounded_and_a_silent_body_is_ended(tmp_path):
    changes = {"by_address 256": "by_address 2", "client_body_timeout 15s": "client_body_timeout 1s"}
    with engine_of_the_test(accept) as port, proxying(tmp_path, port, **changes) as proxy, ExitStack() as stack:
        slow = [stack.enter_context(proxy.connect()) for _ in range(2)]
        for connection in slow:
            connection.sendall(SLOW)
        wait_until(lambda: proxy.request("GET", "/").status == 429, "both are counted")
        assert slow[0].recv(65536) == b""
        wait_until(lambda: proxy.request("GET", "/").status == 200, "both are ended")


def first_bytes(proxy, head: bytes) -> bytes:
    """Of the answer to a request that goes on; none if nothing is answered within 2 s."""
    with proxy.connect() as connection:
        connection.settimeout(2)
        connection.sendall(head)
        try:
            return connection.recv(12)
        except TimeoutError:
            return b""


def test_bodies_that_go_to_files_are_bounded_for_an_address(tmp_path):
    large = SLOW.replace(b"1000", b"8000000")
    chunked = large.replace(b"Content-Length: 8000000", b"Transfer-Encoding: chunked").replace(b"[", b"f0000\r\n[")
    changes = {"filed_bodies 24": "filed_bodies 1"}
    with engine_of_the_test(accept) as port, proxying(tmp_path, port, **changes) as proxy, proxy.connect() as first:
        first.sendall(large)
        wait_until(lambda: first_bytes(proxy, large) == b"HTTP/1.1 429", "the first is counted")
        assert first_bytes(proxy, chunked) == b"HTTP/1.1 429"
        assert first_bytes(proxy, large.replace(b"POST", b"GET")) == b"HTTP/1.1 429"
        assert proxy.request("GET", "/").status == 200
        assert proxy.request("POST", "/", body=b"{}", headers=JSON).status == 200


def test_bodies_of_http_2_without_a_length_are_bounded_too(tmp_path):
    changes = {"unannounced_bodies 40": "unannounced_bodies 1"}
    with engine_of_the_test(accept) as port, proxying(tmp_path, port, **changes) as proxy, ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(proxy.connect("h2")).sendall(get_over_http_2("/", ends=False))
        wait_until(lambda: [line["status"] for line in proxy.log()] == ["429"], "the second is refused")
        assert proxy.request("GET", "/").status == 200


def test_without_space_for_a_body_it_is_503(tmp_path):
    """Bodies that go to no file are still accepted."""
    with engine_of_the_test(accept) as port, proxying(tmp_path, port) as proxy, ExitStack() as stack:
        folder = proxy.folder / "bodies"
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
            folder.rmdir()  # without root: the error of another cause
        else:
            stack.callback(subprocess.run, ["umount", "--lazy", folder], check=True)
        response = proxy.request("POST", "/v1/telemetry", body=b" " * 4_000_000, headers=JSON)
        assert (response.status, response.json()["statusCode"]) == (503, 503)
        assert response.json()["path"] == "/v1/telemetry"
        assert response.headers["Retry-After"] == "5"
        assert proxy.request("POST", "/v1/telemetry", body=b"{}", headers=JSON).status == 200


# ── The same bounds as the engine ────────────────────────────────────────────────────────────────────────────────


def directive(name: str) -> str:
    (value,) = re.findall(rf"^\s*{name} ([^;]*);", CONFIGURATION, re.MULTILINE)
    return value


def test_bounds_fit_those_of_the_engine():
    web = compose()["services"]["web"]
    assert int(directive("client_max_body_size")) == LIMIT == int(web["environment"]["MAX_BODY_BYTES"])
    number, size = directive("large_client_header_buffers").split()
    assert int(number) * int(size.removesuffix("k")) * 1024 == int(option(web["command"], "--http1-buffer-size"))
    (keepalive,) = re.findall(r"keepalive_timeout (\d+)s; # granian", CONFIGURATION)
    assert int(keepalive) * 1000 < int(option(web["command"], "--http1-header-read-timeout"))
    (size,) = re.findall(r"^/tmp:size=(\d+)m$", compose()["services"]["proxy"]["tmpfs"][0])
    files = sum(int(number) for number in re.findall(r"limit_conn \w+_bodies (\d+);", CONFIGURATION))
    assert 0 < files * LIMIT < int(size) * 1024**2 * 3 / 4  # one address leaves space for others
    assert float(directive("proxy_read_timeout")[:-1]) > 4 * float(web["environment"]["DB_TIMEOUT_SECONDS"])
