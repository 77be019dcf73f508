"""The commands of the compose file, run as processes in a folder that holds what the image would."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from http.client import HTTPException
from pathlib import Path

import psycopg
import pytest
import redis

from tests import ROOT
from tests.deploy.compose_file import (
    compose,
    copied_into_image,
    seconds,
)
from tests.factories import meter
from tests.processes import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def image(tmp_path) -> Path:
    """A folder with what the Dockerfile copies to /app, and nothing else."""
    app = tmp_path / "app"
    app.mkdir()
    for source, target in copied_into_image():
        path = app / target / Path(source).name if target.endswith("/") else app / target
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, path, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            path.parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / source, path)
    return app


@pytest.fixture
def empty_servers(cluster, servers):
    """The empty database of a new deployment and an empty Redis database: (DATABASE_URL, REDIS_URL)."""
    redis_url = servers.redis_url.rsplit("/", 1)[0] + "/9"
    yield cluster.url("energy", "energy"), redis_url
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()


def test_services_of_the_compose_file_take_and_store_a_reading(image, empty_servers, secrets, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    host = Host(image, tmp_path / "run", port, secrets, *empty_servers)
    host.run("migrate")
    with contextlib.ExitStack() as stack:
        for name in ("web", "worker", "beat"):
            stack.enter_context(host.running(name))
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _get(f"{url}/health/ready")[0] == 200, "ready")
        assert _get(f"{url}/v1/telemetry", meter("M-compose"))[0] == 401
        key = host.output_of("energy", "keys", "create", "--name", "device", "--scope", "ingest")
        wait_until(lambda: _get(f"{url}/v1/telemetry", meter("M-compose"), key)[0] == 202, "the key is taken")
        status, receipt = _get(f"{url}/v1/telemetry", meter("M-compose"), key)
        assert status == 202
        wait_until(
            lambda: _get(f"{url}/v1/telemetry/receipts/{receipt['receipt']}", key=key)[1].get("state") == "stored",
            "stored",
        )
        assert _stored(empty_servers[0], "M-compose") == 2
        wait_until(lambda: any((tmp_path / "run/run/beat").iterdir()), "the schedule of beat")
        for name in ("web", "worker", "beat"):
            assert host.healthy(name), name
        assert list((tmp_path / "run/run/metrics").iterdir())


class Host:
    """Runs the services' commands as processes of this machine, with paths and ports that are free here."""

    def __init__(self, image: Path, run: Path, port: str, secrets: Path, database_url: str, redis_url: str):
        variables = {
            "REDIS_PASSWORD_FILE": "",
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "WEB_WORKERS": "1",
            "WORKER_CONCURRENCY": "1",
        }
        self.services = compose(**variables)["services"]
        self.image, self.root, self.port, self.secrets = image, run, port, secrets

    def prepare(self, name: str) -> dict:
        for folder in self.services[name]["tmpfs"]:
            (self.root / folder.removeprefix("/")).mkdir(parents=True, exist_ok=True)
        environment = {key: self.here(value) for key, value in self.services[name]["environment"].items()}
        # The image's ENV PATH; a clean environment otherwise.
        path = f"{self.image / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"cwd": self.image, "env": environment | {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}}

    def here(self, word: str) -> str:
        word = word.replace("/run/secrets", str(self.secrets))
        word = re.sub(r"(^|=)/run/", rf"\1{self.root}/run/", word)
        return word.replace("--host=0.0.0.0", "--host=127.0.0.1").replace("--port=8000", f"--port={self.port}")

    def run(self, name: str) -> None:
        subprocess.run([self.here(word) for word in self.services[name]["command"]], check=True, **self.prepare(name))

    def output_of(self, *command: str) -> str:
        """Output of a command that an operator runs within the web container."""
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **self.prepare("web"))
        return done.stdout.strip()

    @contextlib.contextmanager
    def running(self, name: str):
        """Runs a service; stops it as Docker does on exit. It must end by itself within its grace period."""
        log = self.root / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        command = [self.here(word) for word in self.services[name]["command"]]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, start_new_session=True, **self.prepare(name)
            )
        try:
            yield
            assert process.poll() is None, log.read_text()
            process.terminate()
            process.wait(timeout=seconds(self.services[name]["stop_grace_period"]))
        except BaseException as error:
            error.add_note(f"output of {name}: {log.read_text()[-2000:]}")
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def healthy(self, name: str) -> bool:
        kind, python, *arguments = self.services[name]["healthcheck"]["test"]
        assert (kind, python) == ("CMD", "python")
        arguments = [self.port if word == "8000" else self.here(word) for word in arguments]
        arguments = [re.sub(r"^/run/", f"{self.root}/run/", word) for word in arguments]
        return subprocess.run(["python", *arguments], check=False, **self.prepare(name)).returncode == 0


def _get(url: str, body: dict | None = None, key: str = "") -> tuple[int, dict]:
    """Status and JSON of an answer, (0, {}) while the server is not up. With a body it is a POST."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", "X-API-Key": key})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except (OSError, HTTPException):
        return 0, {}


def _stored(database_url: str, device: str) -> int:
    with psycopg.connect(database_url) as connection:
        found = connection.execute("select count(*) from meter_readings_history where meter_id = %s", [device])
        return found.fetchone()[0]
