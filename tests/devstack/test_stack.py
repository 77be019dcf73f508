"""`make up` starts, survives a crash, stops in order and finds its data again."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from devstack import server
from models.environment import declared
from models.settings import Settings
from tests import ROOT
from tests.devstack.stack import eventually, started

pytestmark = pytest.mark.slow

BANNER = ["ready", "docs", "commands", "logs", "elsewhere", "try"]


def test_the_stack_survives_a_kill_and_finds_its_data_after_a_restart(home: Path):
    port = server.free_port("127.0.0.1", 0)
    with started(home, port) as stack:
        curl = next(line for line in stack.printed().splitlines() if line.startswith("curl "))
        answer = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True).stdout
        assert '"accepted":2' in answer.replace(" ", "")
        eventually(lambda: stack.status("/v1/vehicles/V001") == 200)

        web = int(re.findall(r"spawned: 'web' with pid (\d+)", (home / "log/supervisord.log").read_text())[-1])
        os.kill(web, signal.SIGKILL)
        eventually(lambda: "web ended (terminated by SIGKILL); restarting it" in stack.printed())
        eventually(lambda: stack.status("/v1/vehicles/V001") == 200)

        found = subprocess.run(
            ["bash", "-c", f". '{home}/env' && echo $DATABASE_URL"], capture_output=True, text=True, check=True
        ).stdout.strip()
        assert server.unreachable(found) is None
        assert stack.stop() == 0
        assert server.unreachable(found) is not None
        assert "Traceback" not in stack.printed(), stack.printed()
        assert re.findall(r"devstack +\| (\w+) stopped", stack.printed()) == [
            "beat",
            "web",
            "worker",
            "redis",
            "postgres",
        ]

    with started(home, port) as stack:
        assert stack.status("/v1/vehicles/V001") == 200
        assert stack.stop() == 0


def test_a_stack_with_required_keys_creates_one_for_this_machine(home: Path):
    with started(home, server.free_port("127.0.0.1", 0), AUTH="required", SIMULATE="1") as stack:
        env = home / "env"
        read = f". '{env}' && echo $ENERGY_API_KEY"
        key = subprocess.run(["bash", "-c", read], capture_output=True, text=True, check=True).stdout.strip()
        assert key.startswith("eie_")
        assert unprotected_files(home) == [home / "printed"]  # by this test
        assert stack.status("/v1/vehicles") == 401
        eventually(lambda: stack.status("/v1/vehicles/SIM-V001", key) == 200)
        curl = next(line for line in stack.printed().splitlines() if line.startswith("curl "))
        answer = subprocess.run(["bash", "-c", f"{read}; {curl}"], capture_output=True, text=True, check=True).stdout
        assert '"accepted":2' in answer.replace(" ", "")
        assert key not in "".join(file.read_text(errors="replace") for file in (home / "log").iterdir())
        assert key not in stack.printed()
        passwords = [(home / f"{name}.password").read_text() for name in ("postgres", "redis")]
        for process in psutil.Process(stack.process.pid).children(recursive=True):
            environment = (
                Path(f"/proc/{process.pid}/environ").read_text() if Path("/proc/self/environ").exists() else ""
            )
            assert key not in environment, process
            if process.name() in ("postgres", "redis-server"):
                assert not environment.replace("\0", "").replace(f"PATH={os.defpath}", ""), process
            assert not any(password in " ".join(process.cmdline()) for password in passwords), process
        assert stack.stop() == 0


def test_commands_judge_the_settings_of_the_stack(home: Path):
    with started(home, server.free_port("127.0.0.1", 0), STREAM_SHARDS="3") as stack:
        elsewhere = {name: value for name, value in os.environ.items() if name not in declared(Settings)}
        for command in (f"ENERGY_HOME={home} ", f"set -a; . {home}/env; set +a; "):
            command += f"{sys.executable} -m webapp.commands doctor --json"
            done = subprocess.run(
                ["bash", "-c", command], cwd=ROOT, env=elsewhere, capture_output=True, text=True, check=False
            )
            found = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
            assert (found["auth"]["verdict"], found["auth"]["found"][:13]) == ("warning", "AUTH is `off`")
            assert found["shards"]["found"].startswith("3 shards")
        assert stack.stop() == 0


def unprotected_files(home: Path) -> list[Path]:
    """Those that other users can read, by their own mode or by those of the folders above."""
    found = []
    for folder, names, files in os.walk(home):
        names[:] = [name for name in names if (Path(folder) / name).stat().st_mode & 0o005]
        found += [Path(folder) / name for name in files if (Path(folder) / name).stat().st_mode & 0o004]
    return found


def test_the_printed_addresses_answer(home: Path):
    with started(home, server.free_port("127.0.0.1", 0)) as stack:
        printed = re.findall(r"\| (?:ready|docs) +http://[^/]+(/\S*)", stack.printed())
        assert printed == ["/", "/docs"]
        assert [stack.status(path) for path in printed] == [200, 200]
        control = [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(home / "supervisord.conf"), "status"]

        def running() -> list[str]:
            shown = subprocess.run(control, capture_output=True, text=True, check=False).stdout
            return re.findall(r"^(\w+) +RUNNING", shown, re.MULTILINE)

        # A program counts as running some seconds after its start.
        eventually(lambda: running() == ["beat", "postgres", "redis", "web", "worker"])


def test_the_first_screen_ends_with_the_addresses(home: Path):
    with started(home, server.free_port("127.0.0.1", 0), SIMULATE="2") as stack:
        eventually(lambda: "\ncurl " in stack.printed())
        lines = stack.printed().splitlines()
        assert len(lines) <= 23, stack.printed()
        assert not re.search("status=4|warning|error", stack.printed(), re.IGNORECASE), stack.printed()
        live = next(number for number, line in enumerate(lines) if "2 vehicles are live" in line)
        assert [line.split()[2] for line in lines[live + 1 : -1]] == BANNER
        assert lines[-1].startswith("curl ")
        assert stack.stop() == 0
        assert not re.search("kill", stack.printed(), re.IGNORECASE), stack.printed()
