"""The application in granian, over raw sockets: bodies as they arrive on the wire."""

import gzip
import json
import socket

import psutil
import pytest

from tests.factories import meter
from tests.processes import ask_raw

pytestmark = pytest.mark.slow

LIMIT = 8 * 1024 * 1024


CHUNKED = "POST /v1/telemetry HTTP/1.1\nHost: localhost\nContent-Type: application/json\nTransfer-Encoding: chunked"


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


@pytest.fixture
def nothing_left(resources):
    yield
    assert not any(resources.stream.backlog(shard) for shard in range(resources.stream.shards))


def test_a_chunked_body_is_read_whole(port, resources, drain_all):
    body = json.dumps([meter(f"M{number}") for number in range(2000)]).encode()
    status, answer = ask_raw(port, CHUNKED, chunk(body[:70_000]), chunk(body[70_000:]), b"0\r\n\r\n")
    assert (status, answer["accepted"]) == (202, 2000)
    drain_all()


def test_a_chunked_body_above_the_bound_is_refused_not_cut(port, nothing_left):
    reading = json.dumps(meter()).encode()
    body = b"[" + reading + b"," + b" " * LIMIT + reading + b"]"
    chunks = [chunk(body[start : start + 500_000]) for start in range(0, len(body), 500_000)]
    status, answer = ask_raw(port, CHUNKED, *chunks, b"0\r\n\r\n")
    assert (status, answer["statusCode"]) == (413, 413)


def test_chunked_ndjson_above_the_bound_is_refused_even_if_a_cut_leaves_whole_lines(port, nothing_left):
    line = json.dumps(meter()).encode() + b"\n"
    head = CHUNKED.replace("application/json", "application/x-ndjson")
    body = line + b" " * (LIMIT - len(line)) + line
    chunks = [chunk(body[start : start + 500_000]) for start in range(0, len(body), 500_000)]
    assert ask_raw(port, head, *chunks, b"0\r\n\r\n")[0] == 413


def test_a_body_announced_too_large_is_refused(port, nothing_left):
    head = "POST /v1/telemetry HTTP/1.1\nHost: localhost\nContent-Type: application/json\nContent-Length: 9437184"
    status, answer = ask_raw(port, head, *[b" " * 1_048_576] * 9)
    assert (status, answer["statusCode"]) == (413, 413)


def test_a_gzip_bomb_is_refused(port, nothing_left):
    bomb = gzip.compress(b"[" + b" " * 500_000_000)
    head = (
        "POST /v1/telemetry HTTP/1.1\nHost: localhost\nContent-Type: application/json\n"
        f"Content-Encoding: gzip\nContent-Length: {len(bomb)}"
    )
    assert ask_raw(port, head, bomb)[0] == 413
    for server in psutil.Process().children(recursive=True):
        if str(port) in server.cmdline():
            assert server.memory_info().rss < 400_000_000, "it was inflated whole"


@pytest.mark.parametrize("query", ["", "?atomic=true"])
def test_a_truncated_body_adds_nothing(port, nothing_left, query):
    line = json.dumps(meter()).encode() + b"\n"
    head = f"POST /v1/telemetry{query} HTTP/1.1\nHost: localhost\nContent-Type: application/x-ndjson\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"{head}Content-Length: {10 * len(line)}\n\n".replace("\n", "\r\n").encode() + 4 * line)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(100)  # an answer, or the end of the connection: the server has read the body


@pytest.mark.parametrize(("query", "more"), [("?atomic=true", ""), ("", "\nIdempotency-Key: k")])
def test_chunked_ndjson_needs_a_length_if_it_is_accepted_as_a_whole(port, nothing_left, query, more):
    head = CHUNKED.replace("application/json", "application/x-ndjson").replace("/telemetry", f"/telemetry{query}")
    assert ask_raw(port, head + more, chunk(json.dumps(meter()).encode() + b"\n"), b"0\r\n\r\n")[0] == 411


def test_an_empty_body_is_refused(port, nothing_left):
    assert ask_raw(port, CHUNKED, b"0\r\n\r\n")[0] == 400
    head = "POST /v1/telemetry HTTP/1.1\nHost: localhost\nContent-Type: application/json\nContent-Length: 0"
    assert ask_raw(port, head)[0] == 400


def test_odd_paths_get_the_error_shape(port):
    for path in (
        "/v1/meters/%00",
        "/v1/meters/%ff%fe",
        "/%c0%80",
        "/v1/telemetry/receipts/%f0",
        "/v1/vehicles?cursor=%ff",
    ):
        status, answer = ask_raw(port, f"GET {path} HTTP/1.1\nHost: localhost")
        assert status in (404, 422), path
        assert answer["statusCode"] == status
