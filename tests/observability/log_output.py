"""The output of granian and of a worker, for the tests of logs."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import urllib3

from devstack import programs
from tests import ROOT
from tests.processes import free_port, wait_until_live

FORMATS = ("json", "console")


class Server:
    """granian as `make up` runs it, with its output."""

    def __init__(self, port: int, path: Path, form: str):
        self.port, self._path, self.format = port, path, form

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
        """All lines of one request. They are written before its answer, so that none is missing."""
        found = [event for event in self.events() if event.get("request_id") == request_id]
        assert len(found) >= count, found
        return found


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[Server]:
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
        yield Server(port, path, environment.get("LOG_FORMAT", "json"))
    finally:
        process.terminate()
        process.wait(15)


def worker_prints(until: str, **environment) -> list[str]:
    """The output of a worker up to a line with these words."""
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", "--quiet", "-A", "workers", "worker", "--pool", "solo"],
        cwd=ROOT,
        # Celery warns root before the log is set up.
        env=os.environ | {"LOG_LEVEL": "INFO", "PYTHONWARNINGS": "ignore:You're running the worker"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    timer = threading.Timer(60, process.kill)
    timer.start()
    printed = []
    for line in process.stdout:
        printed.append(line)
        if until in line:
            break
    process.terminate()
    process.communicate()
    timer.cancel()
    assert any(until in line for line in printed), printed
    return printed
