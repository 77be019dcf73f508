"""The engine as it is deployed, on servers of its own: devstack's programs, without supervisord and the terminal.

The engine's settings are the defaults, whatever the shell has set: a key for every request, and a JSON line for each
in a file.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import psutil
import psycopg
import redis
import urllib3

import devstack.settings
from bench import BenchError
from devstack import programs, server
from models.settings import load_settings
from models.stream.telemetry import TelemetryStream

START_SECONDS = 60
STOP_SECONDS = 20
TRUNCATE_TRIES = 10
ENGINE = ("worker", "web", "beat")
# Kept between two figures: keys, mappings, and the positions of the streams.
KEPT_TABLES = ("alembic_version", "api_keys", "vehicle_meter_mapping", "ingest_positions")


class Stack:
    """Running servers, and the programs of the engine that a figure needs."""

    def __init__(self, home: Path, database_url: str, redis_url: str):
        self.home, self.database_url, self.redis_url = home, database_url, redis_url
        self.port = server.free_port("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment: dict[str, str] = {}
        self.key = ""
        self._wanted: tuple | None = None
        self._running: dict[str, subprocess.Popen] = {}
        self._folders = contextlib.ExitStack()

    # ── The engine's processes ───────────────────────────────────────────────────────────────────────────────

    def engine(self, *names: str, **variables: str) -> None:
        """Runs exactly these programs of `ENGINE`, with `variables` instead of the defaults; returns once they work.

        Programs that run like that already are not restarted.
        """
        if self._wanted == (names, variables) and all(p.poll() is None for p in self._running.values()):
            return
        self.stop()
        with in_environment(variables | {"PORT": str(self.port)}):
            settings = devstack.settings.read()
            self.environment = programs.environment(settings, self.database_url, self.redis_url)
            self._folders.enter_context(programs.metrics_folders(self.home))
            for program in programs.applications(settings):
                if program.name in names:
                    self.run(program.name, program.argv, program.directory)
        self._wanted = (names, variables)
        if "web" in names:
            self.wait_until(self._is_ready if set(names) == set(ENGINE) else self._is_live, "the engine does not start")

    def run(self, name: str, argv: list[str], directory: Path = programs.ROOT, **variables: str) -> None:
        """Starts a process that `stop` ends; its output goes into a file."""
        with (self.home / f"log/{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                server.bound_to_parent(argv, signal.SIGTERM),
                cwd=directory,
                env=self.environment | variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C in the terminal goes to the bench alone, which stops all in order
            )

    def command(self, argv: list[str], **variables: str) -> str:
        """Runs a command to its end and returns its output. Raises BenchError if it fails."""
        done = subprocess.run(argv, cwd=programs.ROOT, env=self.environment | variables, capture_output=True, text=True)
        if done.returncode:
            raise BenchError(f"`{' '.join(argv[1:5])} …` failed: {done.stderr.strip()[-500:]}")
        return done.stdout

    def energy(self, *arguments: str) -> str:
        """Runs an `energy` command."""
        return self.command([*programs.PYTHON, "webapp.commands", *arguments])

    def stop(self) -> None:
        """Ends every process but the servers, the source before the sink."""
        self._wanted = None
        for name in reversed(list(self._running)):
            process = self._running.pop(name)
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # granian's children may outlive it
            process.wait()
        self._folders.close()

    def web(self, application: str) -> list[str]:
        """The command line of a deployed web, with another application in it."""
        with in_environment({"PORT": str(self.port)}):
            deployed = programs.applications(devstack.settings.read())
        *command, _ = next(program.argv for program in deployed if program.name == "web")
        return [*command, application]

    def families(self) -> dict[str, list[psutil.Process]]:
        """Each program's processes, the parent first. `client` is this process and the clients."""
        parents = {name: process.pid for name, process in self._running.items()} | self._servers
        found = {}
        for name, pid in parents.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                parent = psutil.Process(pid)
                found[name] = [parent, *parent.children(recursive=True)]
        me = psutil.Process()
        return found | {"client": [me, *(child for child in me.children() if child.pid not in parents.values())]}

    @cached_property
    def _servers(self) -> dict[str, int]:
        postmaster = (self.home / "postgres/postmaster.pid").read_text().split()[0]
        with self.redis() as client:
            return {"postgres": int(postmaster), "redis": client.info("server")["process_id"]}

    @cached_property
    def _database(self) -> psycopg.Connection:
        return self.connect()

    @cached_property
    def _stream(self) -> TelemetryStream:
        with in_environment({"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url}):
            return TelemetryStream(load_settings())

    # ── Its state ────────────────────────────────────────────────────────────────────────────────────────────

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.database_url, autocommit=True, options="-c timezone=UTC")

    def redis(self, database: int = 0) -> redis.Redis:
        return redis.Redis.from_url(self.redis_url.rsplit("/", 1)[0] + f"/{database}")

    def stored(self) -> int:
        """Readings stored, by the receipts of the batches; `count_history` counts the rows."""
        return self._database.execute("select coalesce(sum(readings), 0)::int8 from ingest_batches").fetchone()[0]

    def count_history(self) -> int:
        counts = "(select count(*) from meter_readings_history) + (select count(*) from vehicle_readings_history)"
        return self._database.execute(f"select {counts}").fetchone()[0]

    def backlog(self) -> int:
        """Entries of all shards that are not stored yet."""
        return sum(self._stream.backlog(shard) for shard in self._stream.known_shards())

    def wait_until_drained(self, seconds: float = 120) -> None:
        """Raises BenchError after `seconds`."""
        self.wait_until(lambda: self.backlog() == 0, "the backlog is not drained", seconds)

    def empty(self) -> None:
        """The same start for each figure: no backlog, no readings, and nothing left for Postgres to write."""
        self.wait_until_drained()
        with self.connect() as connection:
            tables = connection.execute(
                """select string_agg(format('%%I', relname), ', ') from pg_class
                   where relkind in ('r', 'p') and not relispartition and relnamespace = 'public'::regnamespace
                     and relname <> all (%s)""",
                [list(KEPT_TABLES)],
            ).fetchone()[0]
            self._truncate(connection, tables)
            connection.execute("checkpoint")

    def _truncate(self, connection: psycopg.Connection, tables: str) -> None:
        """Repeats after a deadlock with a periodic task, which locks these tables in another order."""
        for _ in range(TRUNCATE_TRIES):
            with contextlib.suppress(psycopg.errors.DeadlockDetected):
                connection.execute(f"truncate {tables}")
                return
        raise BenchError("the tables can't be emptied: other transactions keep locking them")

    def wait_until(self, holds: Callable[[], object], otherwise: str, seconds: float = START_SECONDS) -> None:
        give_up_at = time.monotonic() + seconds
        while not holds():
            dead = [name for name, process in self._running.items() if process.poll() is not None]
            if dead or time.monotonic() > give_up_at:
                raise BenchError(f"{otherwise}{self._last_output(dead)}")
            time.sleep(0.1)

    def wait_until_listening(self) -> None:
        """For the web of a baseline."""
        self.wait_until(lambda: not server.free_port("127.0.0.1", self.port), "nothing listens")

    def _last_output(self, dead: list[str]) -> str:
        logs = {name: self.home / f"log/{name}.log" for name in dead}
        ends = [f"{name}: {log.read_text(errors='replace').strip()[-300:]}" for name, log in logs.items()]
        return f" ({'; '.join(ends)})" if ends else ""

    def _is_live(self) -> bool:
        return self._answers("/health/live")

    def _is_ready(self) -> bool:
        return self._answers("/health/ready")

    def _answers(self, path: str) -> bool:
        try:
            return urllib3.request("GET", self.url + path, retries=False, timeout=2).status == 200
        except urllib3.exceptions.HTTPError:
            return False


@contextlib.contextmanager
def in_environment(values: dict[str, str]) -> Iterator[None]:
    """Sets environment variables within the block."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
