"""Processes of the product that tests run, and raw requests to them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3

from tests import ROOT

# The operators' commands, as a process of their own.
ENERGY = [sys.executable, "-m", "webapp.commands"]


def environment_without_stack(**values: str) -> dict[str, str]:
    """This process's environment, which leads a command to no stack; and `values`."""
    addresses = ("DATABASE_URL", "REDIS_URL", "ENERGY_API_URL", "ENERGY_API_KEY")
    rest = {name: value for name, value in os.environ.items() if name not in addresses}
    return rest | {"ENERGY_HOME": "/absent"} | values


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def wait_until(holds: Callable[[], object], what: str, seconds: float = 30) -> None:
    give_up_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up_at, f"did not happen in {seconds} s: {what}"
        time.sleep(0.05)


def wait_until_live(port: int) -> None:
    for _ in range(200):
        try:
            if urllib3.request("GET", f"http://127.0.0.1:{port}/health/live", retries=False, timeout=1).status == 200:
                return
        except urllib3.exceptions.HTTPError:
            time.sleep(0.05)
    raise AssertionError("granian did not come up")


@contextmanager
def serving() -> Iterator[int]:
    """A granian with one worker, as `make up` runs it; yields its port."""
    port = free_port()
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


@contextmanager
def running(folder: Path, role: str, command: list[str], **environment: str):
    """`python -m` a command, with counters of its own; ended by SIGTERM, and by SIGKILL if that is not enough."""
    shared = folder / role
    shared.mkdir()
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(shared)} | environment
    process = subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, env=environment, start_new_session=True)
    try:
        yield process
        process.terminate()
        process.wait(30)
    finally:
        os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None


def ask_raw(port: int, head: str, *chunks: bytes) -> tuple[int, dict]:
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
