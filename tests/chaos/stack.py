"""The stack as `make up` runs it, in a folder and on ports of its own, and a second Celery worker beside it."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import psycopg
import redis
import urllib3
from supervisor.xmlrpc import SupervisorTransport

from devstack.server import bound_to_parent, free_port
from models.settings import load_settings
from models.storage.positions import list_positions
from models.stream.entry_ids import EntryId, parse_entry_id
from models.stream.telemetry import TelemetryStream
from tests.chaos.kept_worker import ROOT, KeptWorker

START_SECONDS = 60
STOP_SECONDS = 40
OWN_SETTINGS = ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "WEB_HOST", "STREAM_SHARDS", "INGEST_FALLBACK")


class Stack:
    """A context manager. devstack restarts what crashes in it; the tests don't."""

    def __init__(self, **variables: str):
        # Not in pytest's folder: Postgres, which runs as another user if this is root, cannot enter it.
        self.home = Path(tempfile.mkdtemp(prefix="energy-chaos-"))
        self.home.chmod(0o755)
        self.variables = variables
        self.url = f"http://127.0.0.1:{free_port('127.0.0.1', 0)}"
        self._guests: list[subprocess.Popen] = []
        self._http = urllib3.PoolManager(retries=False, timeout=5)

    def __enter__(self) -> "Stack":
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(AttributeError):  # never started
            self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def start(self) -> None:
        inherited = {name: value for name, value in os.environ.items() if name not in OWN_SETTINGS}
        settings = {"SIMULATE": "0", "WEB_WORKERS": "2", "WORKER_CONCURRENCY": "2", "LOG_LEVEL": "WARNING"}
        settings["REDIS_MAXMEMORY"] = "384mb"  # one string may have 512
        place = {"ENERGY_HOME": str(self.home), "PORT": self.url.rsplit(":", 1)[1]}
        self.process = self._spawn(["devstack"], inherited | settings | place | self.variables, signal.SIGTERM)
        self.wait_until(lambda: self.process.poll() is not None or self.health()[0], START_SECONDS, "is not up")
        assert self.process.poll() is None, (self.home / "devstack.log").read_text()
        lines = (self.home / "env").read_text().splitlines()
        self.env = dict(shlex.split(line)[0].split("=", 1) for line in lines)
        with mock.patch.dict(os.environ, self.variables | self.env):
            self.stream = TelemetryStream(load_settings())
        self.worker_environment = inherited | settings | self.variables | self.env
        self.second_worker = KeptWorker(self.worker_environment, self.home / "log/second.log")

    def run_beside(self, *module_and_arguments: str) -> subprocess.Popen:
        """`python -m …` with a worker's environment; ends with the stack at the latest."""
        self._guests.append(self._spawn([*module_and_arguments], self.worker_environment, signal.SIGKILL))
        return self._guests[-1]

    def _spawn(self, module_and_arguments: list[str], environment: dict, stop_signal: signal.Signals):
        with (self.home / f"{module_and_arguments[0]}.log").open("ab") as log:
            return subprocess.Popen(
                bound_to_parent([sys.executable, "-m", *module_and_arguments], stop_signal),
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self) -> None:
        """A warm shutdown of everything, as by Ctrl-C; then SIGKILL for processes that remain."""
        members = [self.process, *self.processes()] if self.process.poll() is None else []
        for member in members[1:]:
            _signal(member, signal.SIGCONT)
        for guest in self._guests:
            guest.kill()
        self.process.terminate()
        if hasattr(self, "second_worker"):
            self.second_worker.stop()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for member in psutil.wait_procs(members[1:], timeout=2)[1]:
            _signal(member, signal.SIGKILL)

    # ── Its processes ────────────────────────────────────────────────────────────────────────────────────────

    @property
    def supervisor(self) -> Any:
        transport = SupervisorTransport(serverurl=f"unix://{self.home}/run/supervisor.sock")
        return xmlrpc.client.ServerProxy("http://localhost", transport).supervisor

    def pid(self, program: str, *, other_than: int = 0) -> int:
        """The id of the program's process, once it runs; another one than the one that was killed."""
        running = []

        def runs() -> bool:
            pid = self.supervisor.getProcessInfo(program)["pid"]
            if pid and pid != other_than and psutil.pid_exists(pid):
                with contextlib.suppress(psutil.NoSuchProcess):
                    running[:] = [pid] if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE else []
            return bool(running)

        self.wait_until(runs, 30, f"does not run {program}")
        return running[0]

    def family(self, program: str) -> list[psutil.Process]:
        """The program's process and its children, the parent first."""
        parent = psutil.Process(self.pid(program))
        return [parent, *parent.children(recursive=True)]

    def processes(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    # ── Its state ────────────────────────────────────────────────────────────────────────────────────────────

    def health(self) -> tuple[bool, dict]:
        """Whether it is ready, and each check."""
        try:
            response = self._http.request("GET", f"{self.url}/health/ready")
            return response.status == 200, response.json().get("checks", {})
        except (urllib3.exceptions.HTTPError, ValueError):
            return False, {}

    def get(self, path: str) -> dict:
        return self._http.request("GET", self.url + path).json()

    @contextlib.contextmanager
    def database(self) -> Iterator[psycopg.Connection]:
        with psycopg.connect(self.env["DATABASE_URL"], autocommit=True, options="-c timezone=UTC") as connection:
            yield connection

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.env["REDIS_URL"], socket_timeout=5)

    def backlog(self) -> int:
        """Entries not yet stored; a million if Redis is unavailable."""
        try:
            return sum(self.stream.backlog(shard) for shard in self.stream.known_shards())
        except redis.RedisError:
            return 1_000_000

    def positions(self) -> dict[int, EntryId]:
        with self.database() as connection:
            return {shard: parse_entry_id(each.entry_id) for shard, each in list_positions(connection).items()}

    def draining_workers(self, seconds: float) -> int:
        """How many of the two Celery workers ran a statement within the last `seconds`."""
        with self.database() as connection:
            ports = connection.execute(
                """select client_port from pg_stat_activity
                   where application_name = 'energy-worker' and query_start > now() - %s * interval '1 s'""",
                [seconds],
            ).fetchall()
        busy = {port for (port,) in ports}
        families = [self.family("worker"), self.second_worker.family()]
        return sum(any(port in busy for process in family for port in _ports(process)) for family in families)

    def wait_until(self, holds: Callable[[], object], seconds: float, otherwise: str) -> float:
        """Returns the seconds that it took."""
        started = time.monotonic()
        while not holds():
            assert time.monotonic() < started + seconds, f"the stack {otherwise} after {seconds} s"
            time.sleep(0.05)
        return time.monotonic() - started


def _ports(process: psutil.Process) -> list[int]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [each.laddr.port for each in process.net_connections("tcp")]
    return []


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
