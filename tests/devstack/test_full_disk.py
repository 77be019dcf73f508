"""A full disk stops Redis and Postgres, and neither the web nor the terminal's calm."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from devstack import server
from tests.devstack.stack import eventually, started

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk"),
]
READING = {"meterId": "FULL", "kwhConsumedAc": 1, "voltage": 230, "timestamp": "2026-02-10T10:00:00Z"}


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """A disk of 300 MiB, in memory."""
    disk = home / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m,mode=755", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("this machine does not let root mount a disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as opened:
        try:
            while opened.write(b"x" * 65_536):
                pass
        except OSError:
            return


def test_on_a_full_disk_the_web_answers_503_and_starts_again(small_disk: Path, home: Path):
    stack_home = small_disk / "energy"
    with started(home, server.free_port("127.0.0.1", 0), ENERGY_HOME=str(stack_home)) as stack:

        def post() -> int:
            try:
                answer = urllib3.request("POST", f"{stack.url}/v1/telemetry", json=READING, retries=False, timeout=10)
            except urllib3.exceptions.HTTPError:
                return 0
            return answer.status

        eventually(lambda: post() == 202)
        fill(small_disk / "filler")
        eventually(lambda: post() == 503, 40)
        assert {post() for _ in range(10)} <= {202, 503, 504}
        errors = urllib3.request("GET", f"{stack.url}/health/ready", timeout=10).json()["errors"]
        assert "No space left" in errors["disk"][0]
        assert "make room" in errors["disk"][0]

        web = int(re.findall(r"spawned: 'web' with pid (\d+)", (stack_home / "log/supervisord.log").read_text())[-1])
        os.kill(web, signal.SIGKILL)
        eventually(lambda: post() in (503, 504), 40)

        (small_disk / "filler").unlink()
        eventually(lambda: post() == 202, 60)
        eventually(lambda: stack.status("/v1/meters/FULL") == 200)
        assert "Traceback" not in stack.printed(), stack.printed()
        assert stack.printed().count("logs are incomplete") == 1
        assert stack.stop() == 0
