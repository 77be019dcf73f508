"""Requests that are too large or too slow."""

import socket

import pytest

from tests.factories import vehicle
from tests.security.raw import exchange

pytestmark = pytest.mark.slow


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


def test_slow_bodies_without_a_key_block_no_other_request(port):
    head = b"POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    slow = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(32)]  # four for each thread
    try:
        for connection in slow:
            connection.sendall(head)
        for connection in slow:
            assert connection.recv(65536).startswith(b"HTTP/1.1 401 "), "refused before the body is read"
        head, _ = exchange(port, "GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize("key", [None, "wrong"])
def test_a_sender_that_waits_for_100_continue_reads_its_refusal_before_it_sends_the_body(port, key):
    head = f"POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\nX-API-Key: {key}\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(f"{head}Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    "extra", [f"X-Long: {'x' * 200_000}\r\n", "".join(f"X-{n}: 1\r\n" for n in range(150))], ids=["long", "many"]
)
def test_headers_are_bounded(port, extra):
    head, _ = exchange(port, f"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{extra}\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("limit", ["0", "1001", "1e9", "-1"])
def test_pages_are_bounded(client, limit):
    assert client.get("/v1/meters", query_string={"limit": limit}).status_code == 422


def test_windows_are_bounded(client, drain_all):
    client.post("/v1/telemetry", json=vehicle())
    drain_all()
    window = {"from": "2026-01-01T00:00:00Z", "to": "2026-02-02T00:00:00Z"}
    assert client.get("/v1/analytics/performance/V001", query_string=window).status_code == 422
