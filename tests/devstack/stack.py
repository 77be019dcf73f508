"""`make up` as tests run it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import urllib3

from tests import ROOT

START_SECONDS = 60
STOP_SECONDS = 30


def environment(home: Path, **variables: str) -> dict[str, str]:
    own = ("DATABASE_URL", "REDIS_URL", "PORT", "SIMULATE", "WEB_HOST", "WEB_WORKERS", "WORKER_CONCURRENCY")
    own += ("AUTH", "ALLOW_INSECURE", "ENERGY_API_KEY")
    rest = {name: value for name, value in os.environ.items() if name not in own}
    return rest | {"ENERGY_HOME": str(home), "SIMULATE": "0"} | variables


def refusal(home: Path, **variables: str) -> tuple[int, str]:
    """Exit status and standard error of a start that must fail."""
    done = subprocess.run(
        [sys.executable, "-m", "devstack"],
        cwd=ROOT,
        env=environment(home, **variables),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def eventually(holds: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


class Stack:
    """`python -m devstack` and its output."""

    def __init__(self, home: Path, port: int, **variables: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._printed = home / "printed"
        with self._printed.open("ab") as printed:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "devstack"],
                cwd=ROOT,
                env=environment(home, PORT=str(port), **variables),
                stdout=printed,
                stderr=subprocess.STDOUT,
            )

    def printed(self) -> str:
        return self._printed.read_text()

    def status(self, path: str, key: str = "") -> int:
        try:
            retries = urllib3.Retry(connect=0, read=0, redirect=2)
            headers = {"X-API-Key": key} if key else {}
            return urllib3.request("GET", self.url + path, headers=headers, retries=retries, timeout=5).status
        except urllib3.exceptions.HTTPError:
            return 0

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)


@contextlib.contextmanager
def started(home: Path, port: int, **variables: str) -> Iterator[Stack]:
    (home / "printed").unlink(missing_ok=True)
    stack = Stack(home, port, **variables)
    try:
        eventually(lambda: stack.process.poll() is not None or "| ready " in stack.printed(), START_SECONDS)
        assert stack.process.poll() is None, stack.printed()
        yield stack
    finally:
        stack.process.terminate()  # no-op after stop(); supervisord stops the rest
        stack.process.wait(STOP_SECONDS)
