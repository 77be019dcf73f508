"""What only the real server shows: granian with the application, asked over raw sockets."""

import gzip
import json
import os
import socket
import subprocess
import sys
import time

import pytest
import urllib3

from tests.conftest import ROOT, meter

LIMIT = 8 * 1024 * 1024


@pytest.fixture(scope="module")
def port(servers):
    """A granian with one worker, as `make up` runs it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--factory", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--blocking-threads", "8", "--workers-kill-timeout", "5", "webapp:create_app"],
        cwd=ROOT,
        env=os.environ,
    )
    wait_until_live(port)
    yield port
    process.terminate()
    assert process.wait(15) == 0


def wait_until_live(port: int) -> None:
    for _ in range(200):
        try:
            if urllib3.request("GET", f"http://127.0.0.1:{port}/health/live", retries=False, timeout=1).status == 200:
                return
        except urllib3.exceptions.HTTPError:
            time.sleep(0.05)
    raise AssertionError("granian did not come up")


def ask(port: int, head: str, *chunks: bytes) -> tuple[int, dict]:
    """Sends a raw request; returns the status and the JSON of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        try:
            for chunk in chunks:
                connection.sendall(chunk)
        except OSError:
            pass  # answered before the whole body was sent
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer.split(b"\r\n\r\n", 1)[1]) < content_length(answer):
            part = connection.recv(65536)
            if not part:
                break
            answer += part
    return int(answer.split(b" ", 2)[1]), json.loads(answer.split(b"\r\n\r\n", 1)[1] or b"{}")


def content_length(answer: bytes) -> int:
    for line in answer.split(b"\r\n\r\n", 1)[0].lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


CHUNKED = "POST /v1/telemetry HTTP/1.1\nHost: x\nContent-Type: application/json\nTransfer-Encoding: chunked"


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


@pytest.fixture
def nothing_left(resources):
    yield
    assert not any(resources.stream.backlog(shard) for shard in range(resources.stream.shards))


def test_a_chunked_body_is_read_whole(port, resources, drain_all):
    body = json.dumps([meter(f"M{number}") for number in range(2000)]).encode()
    status, answer = ask(port, CHUNKED, chunk(body[:70_000]), chunk(body[70_000:]), b"0\r\n\r\n")
    assert (status, answer["accepted"]) == (202, 2000)
    drain_all()


def test_a_chunked_body_above_the_bound_is_refused_and_not_cut(port, nothing_left):
    reading = json.dumps(meter()).encode()
    body = b"[" + reading + b"," + b" " * LIMIT + reading + b"]"
    chunks = [chunk(body[start : start + 500_000]) for start in range(0, len(body), 500_000)]
    status, answer = ask(port, CHUNKED, *chunks, b"0\r\n\r\n")
    assert (status, answer["statusCode"]) == (413, 413)


def test_ndjson_that_would_be_whole_where_it_is_cut_is_refused_too(port, nothing_left):
    line = json.dumps(meter()).encode() + b"\n"
    head = CHUNKED.replace("application/json", "application/x-ndjson")
    body = line + b" " * (LIMIT - len(line)) + line
    chunks = [chunk(body[start : start + 500_000]) for start in range(0, len(body), 500_000)]
    assert ask(port, head, *chunks, b"0\r\n\r\n")[0] == 413


def test_a_body_announced_too_large_is_refused(port, nothing_left):
    head = "POST /v1/telemetry HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: 9437184"
    status, answer = ask(port, head, *[b" " * 1_048_576] * 9)
    assert (status, answer["statusCode"]) == (413, 413)


def test_a_gzip_bomb_is_refused(port, nothing_left):
    bomb = gzip.compress(b"[" + b" " * 500_000_000)
    head = (
        "POST /v1/telemetry HTTP/1.1\nHost: x\nContent-Type: application/json\n"
        f"Content-Encoding: gzip\nContent-Length: {len(bomb)}"
    )
    started = time.monotonic()
    assert ask(port, head, bomb)[0] == 413
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("query", ["", "?atomic=true"])
def test_a_body_that_breaks_off_is_not_half_taken(port, nothing_left, query):
    line = json.dumps(meter()).encode() + b"\n"
    head = f"POST /v1/telemetry{query} HTTP/1.1\nHost: x\nContent-Type: application/x-ndjson\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"{head}Content-Length: {10 * len(line)}\n\n".replace("\n", "\r\n").encode() + 4 * line)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(100)  # an answer, or the end: by then the server is done with it


@pytest.mark.parametrize(("query", "more"), [("?atomic=true", ""), ("", "\nIdempotency-Key: k")])
def test_chunked_ndjson_that_must_be_whole_needs_a_length(port, nothing_left, query, more):
    head = CHUNKED.replace("application/json", "application/x-ndjson").replace("/telemetry", f"/telemetry{query}")
    assert ask(port, head + more, chunk(json.dumps(meter()).encode() + b"\n"), b"0\r\n\r\n")[0] == 411


def test_an_empty_body_is_refused(port, nothing_left):
    assert ask(port, CHUNKED, b"0\r\n\r\n")[0] == 400
    head = "POST /v1/telemetry HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: 0"
    assert ask(port, head)[0] == 400


def test_odd_paths_get_the_error_shape(port):
    for path in (
        "/v1/meters/%00",
        "/v1/meters/%ff%fe",
        "/%c0%80",
        "/v1/telemetry/receipts/%f0",
        "/v1/vehicles?cursor=%ff",
    ):
        status, answer = ask(port, f"GET {path} HTTP/1.1\nHost: x")
        assert status in (404, 422), path
        assert answer["statusCode"] == status
