"""Keys on a real server with two web processes."""

import os
import socket
import subprocess
import sys
import time

import psutil
import pytest
import urllib3

from models.access.keyring import REFRESH_SECONDS
from models.access.keys import Rights, create_key, revoke_key, split_key
from tests import ROOT
from tests.factories import bearer
from tests.processes import ask_raw, free_port, wait_until_live

pytestmark = pytest.mark.slow


@pytest.fixture
def granian(servers):
    """Two web processes that require keys: the port, and the process."""
    port = free_port()
    options = ["--interface", "wsgi", "--factory", "--workers", "2", "--blocking-threads", "8", "--port", str(port)]
    options += ["--workers-kill-timeout", "5", "--http1-buffer-size", "65536"]
    process = subprocess.Popen(
        [sys.executable, "-m", "granian", *options, "webapp:create_app"],
        cwd=ROOT,
        env=os.environ | {"AUTH": "required"},
    )
    try:
        wait_until_live(port)
        yield port, process
    finally:
        process.terminate()
        assert process.wait(15) == 0


def connections_of_each_worker(process: subprocess.Popen, port: int) -> list[int]:
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        open_ = [c for c in child.net_connections("tcp") if c.laddr.port == port and c.status == "ESTABLISHED"]
        if open_:
            found.append(len(open_))
    return found


def test_a_revoked_key_is_refused_by_every_web_worker(granian, resources, database):
    port, process = granian
    text = create_key(database, Rights("test", ("read",)))
    lines: list[urllib3.HTTPConnectionPool] = []

    def statuses() -> set[int]:
        return {line.request("GET", "/v1/vehicles", headers=bearer(text), retries=False).status for line in lines}

    deadline = time.monotonic() + 60
    while statuses() != {200} or len(connections_of_each_worker(process, port)) < 2:
        assert time.monotonic() < deadline
        lines += [urllib3.HTTPConnectionPool("127.0.0.1", port, maxsize=1) for _ in range(8)]
        time.sleep(0.2)
    revoke_key(database, split_key(text)[0])
    started = time.monotonic()
    while statuses() != {401}:
        assert time.monotonic() < started + 60, "the key is still valid"
    print(f"refused everywhere after {time.monotonic() - started:.1f} s")
    time.sleep(REFRESH_SECONDS)
    assert statuses() == {401}


def test_forged_headers_are_refused(granian, resources, database):
    port, _ = granian
    text = create_key(database, Rights("test", ("read",)))
    deadline = time.monotonic() + 20
    while ask_raw(port, f"GET /v1/vehicles HTTP/1.1\nHost: x\nX-API-Key: {text}")[0] != 200:
        assert time.monotonic() < deadline
    start = "GET /v1/vehicles HTTP/1.1\nHost: x\n"
    for forged in (
        f"Authorization: Bearer {text}\nAuthorization: Bearer {text}x",
        f"Authorization: Bearer {text}x\nX-API-Key: {text}",
        f"X-API-Key: {text}\nX-API-Key: other",
        f"X-API-Key: {text[:-4]}",
    ):
        assert ask_raw(port, start + forged)[0] == 401, forged
    status, _ = ask_raw(port, f"{start}X-API-Key: {'x' * 60_000}")
    assert status == 401
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall((start + f"X-API-Key: {'x' * 500_000}\n\n").replace("\n", "\r\n").encode())
        assert connection.recv(1000).split(b" ")[1] == b"431"
