"""Fixtures of all rooms. Tests use real servers: devstack's embedded Postgres and Redis, started once per run on
free ports in a folder of their own. The migrations create the schema. fakeredis is for units only.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import hypothesis
import psycopg
import pytest
import redis
from click.testing import CliRunner

from devstack import postgres_server, redis_server, server
from tests import ROOT, tables
from webapp.commands import energy

# A deadline measures the load of the machine, not the code.
hypothesis.settings.register_profile("engine", deadline=None)
hypothesis.settings.load_profile("engine")


def pytest_configure() -> None:
    # `nohup` and background jobs of scripts ignore SIGINT, and processes that tests start would inherit it.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Servers:
    database_url: str
    redis_url: str


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Postgres and Redis with the product's own server settings, and the schema at head."""
    # Run as root, Postgres changes to another user, who cannot enter pytest's temporary folder.
    with (
        tempfile.TemporaryDirectory(prefix="energy-tests-", dir=_memory(), ignore_cleanup_errors=True) as folder,
        server.running(_with_replication(Path(folder))) as database_url,
        # With all rights: some tests change its configuration.
        server.running(redis_server.prepare(Path(folder), rights="~* &* +@all")) as redis_url,
    ):
        os.environ.update(DATABASE_URL=database_url, REDIS_URL=redis_url, LOG_LEVEL="WARNING")
        # Without keys; tests of keys use the fixture `refresh`.
        os.environ.update(AUTH="off", ALLOW_INSECURE="1")
        subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], cwd=ROOT, check=True)
        yield Servers(database_url, redis_url)


def _with_replication(folder: Path) -> server.Server:
    """A Postgres in which tests may create replication slots."""
    prepared = postgres_server.prepare(folder)
    rights = ["alter role energy replication", "grant execute on function pg_switch_wal to energy"]
    postgres_server.run_alone(prepared.directory, postgres_server.DATABASE, rights)
    return replace(prepared, argv=[*prepared.argv, "-c", "max_wal_size=256MB"])  # may be in memory


def _memory() -> Path | None:
    """A folder in memory if there is plenty: with the product's settings each commit waits for the disk."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 4_000_000_000 else None


@pytest.fixture(scope="session")
def _worker_resources(servers):
    """The resources of a worker; tasks called in this process use the same."""
    from workers.app import current_resources

    resources = current_resources()
    yield resources
    resources.close()


@pytest.fixture
def resources(_worker_resources) -> Iterator:
    """The resources of a worker, with empty tables and an empty stream. A backlog at the end fails the test."""
    _empty(_worker_resources)
    yield _worker_resources
    backlogs = {shard: _worker_resources.stream.backlog(shard) for shard in range(_worker_resources.stream.shards)}
    _empty(_worker_resources)
    assert not any(backlogs.values()), f"the test ends with a backlog: {backlogs}"


@pytest.fixture
def database(resources) -> Iterator[psycopg.Connection]:
    """A connection in autocommit mode, to arrange and to inspect."""
    with psycopg.connect(resources.settings.database_url, autocommit=True, options="-c timezone=UTC") as connection:
        yield connection


@pytest.fixture
def count(database):
    """Counts the rows of a table: `count("dead_letters")`."""
    return lambda table: database.execute(f"select count(*) from {table}").fetchone()[0]


@pytest.fixture
def poison(database):
    """The database refuses meter readings of 999.5 V until the yielded function is called."""
    database.execute("alter table meter_readings_history add constraint poison check (voltage <> 999.5)")

    def accept() -> None:
        database.execute("alter table meter_readings_history drop constraint if exists poison")

    yield accept
    accept()


@pytest.fixture
def broker(servers) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(servers.redis_url) as client:
        yield client


@pytest.fixture(scope="session")
def _app(servers):
    from webapp import create_app

    app = create_app()
    app.testing = True
    app.extensions["readiness"].seconds = 0  # tests change the state and look at once
    yield app
    app.extensions["resources"].close()


@pytest.fixture
def app(_app, resources):
    return _app


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def alive(resources, broker):
    """Fresh heartbeats of beat, a worker and a sweep."""
    from models.observability.heartbeats import BEAT, SWEEP, WORKER, Heartbeats

    for who in (BEAT, SWEEP, f"{WORKER}celery@test/1"):
        Heartbeats(broker).record(who)


@pytest.fixture
def drain_all(resources):
    """Drains every shard in this process until the stream is empty."""
    from workers.drain import drain_batch

    def drain() -> None:
        for shard in resources.stream.known_shards():
            while resources.stream.backlog(shard):
                assert drain_batch(resources, shard) is not None, f"shard {shard} can't be drained"

    return drain


@pytest.fixture
def with_settings(app):
    """Changes settings of the running application for one test: `with_settings(stream_max_entries=3)`."""
    before = app.extensions["resources"]
    opened = []

    def change(**values):
        from models.resources import Resources
        from models.stream.telemetry import TelemetryStream

        settings = replace(before.settings, **values)
        changed = Resources(settings, before.database, TelemetryStream(settings))
        opened.append(changed)
        app.extensions["resources"] = changed
        return changed

    yield change
    app.extensions["resources"] = before
    for changed in opened:
        changed.stream.close()


@pytest.fixture
def refresh(app, with_settings):
    """Makes the application require keys; call it to reload them at once."""
    with_settings(auth="required")
    return app.extensions["keyring"].refresh


@pytest.fixture
def new_key(database, refresh):
    """Creates a key and returns its text: `new_key("ingest", device_prefix="A-")`."""

    from models.access.keys import Rights, create_key

    def make(*scopes: str, lasts: timedelta | None = None, **rights) -> str:
        text = create_key(database, Rights("test", scopes, **rights), lasts=lasts)
        refresh()
        return text

    return make


@pytest.fixture
def send(client, drain_all):
    """Posts readings and stores them."""

    def send(*readings):
        assert client.post("/v1/telemetry", json=list(readings)).status_code == 202
        drain_all()

    return send


@pytest.fixture
def rolled_fleet(client, send, database):
    """The watermark of a small fleet with roll-ups, see `create_fleet`."""
    from tests.factories import create_fleet

    return create_fleet(client, send, database)


class CommandRunner(CliRunner):
    """Runs the operators' commands in this process: `runner.invoke(args=["status", "--json"])`."""

    def __init__(self):
        super().__init__(env={"ENERGY_HOME": "/absent"})  # not the stack that may run in this folder

    def invoke(self, args, **options):
        return super().invoke(energy, args, **options)


@pytest.fixture
def runner(resources):
    return CommandRunner()


def _empty(resources) -> None:
    with resources.database.connection() as connection:
        tables.empty(connection)
    with redis.Redis.from_url(resources.settings.redis_url) as client:
        client.flushall()
