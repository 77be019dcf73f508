"""Another user of the machine gets nothing from the embedded servers, and their passwords run no program."""

import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from devstack import postgres_server, redis_server, server
from tests import ROOT

pytestmark = pytest.mark.slow

NOBODY = pwd.getpwnam("nobody") if os.geteuid() == 0 else None


@pytest.fixture
def postgres(home: Path):
    with server.running(postgres_server.prepare(home)) as url:
        yield url


@pytest.fixture
def stream(home: Path):
    with server.running(redis_server.prepare(home)) as url, redis.Redis.from_url(url) as client:
        yield client


def refusal_as_nobody(attempt: Callable[[], object]) -> str:
    """The error of an attempt by the user `nobody`; without root by this user, who has no more rights there."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        # Not a program of its own: `nobody` may be unable to enter the folder of this Python.
        if NOBODY:
            os.setgroups([])
            os.setgid(NOBODY.pw_gid)
            os.setuid(NOBODY.pw_uid)
        try:
            attempt()
        except Exception as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        return answer.read()


@pytest.mark.parametrize("role", ["postgres", "energy"])
def test_postgres_refuses_a_connection_without_the_password(postgres: str, role: str):
    port = psycopg.conninfo.conninfo_to_dict(postgres)["port"]
    url = f"postgresql://{role}:guessed@127.0.0.1:{port}/energy"
    assert "password authentication failed" in refusal_as_nobody(lambda: psycopg.connect(url))


def test_the_role_of_the_engine_runs_no_program_and_reads_no_file(postgres: str):
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("create table found (line text)")  # the database is its own
        for statement in ("copy found from program 'id'", "copy found from '/etc/hostname'", "alter system reset all"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
        for role in ("superuser", "postgres", "pg_execute_server_program"):
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue,
                                psycopg.errors.UndefinedObject)):  # fmt: skip
                connection.execute(f"set role {role}")


def test_redis_refuses_a_command_without_the_password(stream: redis.Redis):
    port = stream.connection_pool.connection_kwargs["port"]
    assert "HELLO must be called with the client already authenticated" in refusal_as_nobody(
        redis.Redis(port=port).ping
    )


@pytest.mark.parametrize(
    "command",
    ["config set dir /tmp", "config set dbfilename x", "config rewrite", "replicaof 127.0.0.1 1", "module load /x",
     "acl setuser default nopass", "debug sleep 0", "shutdown"],
)  # fmt: skip
def test_a_client_with_the_password_changes_no_configuration(stream: redis.Redis, command: str):
    with pytest.raises(redis.exceptions.NoPermissionError):
        stream.execute_command(*command.split())


def test_doctor_reads_what_durability_depends_on(stream: redis.Redis):
    assert stream.config_get("appendfsync") == {"appendfsync": "always"}


def test_no_file_of_the_servers_is_readable_for_others(home: Path, postgres: str, stream: redis.Redis):
    stream.set("written", 1)
    assert (home / "redis/appendonly.aof").stat().st_mode & 0o777 == 0o600
    for folder in ("redis", "postgres"):
        assert (home / folder).stat().st_mode & 0o077 == 0
    for name in ("redis.password", "postgres.password"):
        assert (home / name).stat().st_mode & 0o777 == 0o600
    for name in ("redis.access", "postgres.access"):
        assert (home / name).stat().st_mode & 0o007 == 0


@pytest.mark.skipif(NOBODY is None, reason="only root runs the servers as another user")
def test_redis_does_not_run_as_root(stream: redis.Redis):
    assert psutil.Process(stream.info("server")["process_id"]).uids().real == pwd.getpwnam("pgserver").pw_uid


def test_no_password_is_in_a_command_line(home: Path):
    for prepared in (postgres_server.prepare(home), redis_server.prepare(home)):
        password = (home / f"{prepared.name}.password").read_text()
        assert password in prepared.url
        assert password not in " ".join(prepared.argv)


def test_data_of_a_version_without_passwords_is_taken_over(home: Path):
    with server.running(postgres_server.prepare(home)) as url:
        environment = os.environ | {"DATABASE_URL": url, "REDIS_URL": "redis://127.0.0.1:1"}
        subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], cwd=ROOT, env=environment, check=True)
        with psycopg.connect(url) as connection:
            connection.execute(
                "insert into api_keys (id, name, secret_hash, scopes) values ('k', 'kept', '', '{read}')"
            )
    # As that version left it: the superuser owns everything and needs no password.
    postgres_server.run_alone(
        home / "postgres",
        "energy",
        [postgres_server.OWN_EVERYTHING.replace("owner to energy", "owner to postgres"), "drop owned by energy",
         "alter database energy owner to postgres", "drop role energy"],
    )  # fmt: skip
    (home / "postgres.password").unlink()
    with server.running(postgres_server.prepare(home)) as url, psycopg.connect(url) as connection:
        assert connection.execute("select name from api_keys").fetchall() == [("kept",)]
        for table in ("meter_readings_history", "vehicle_feeds"):
            connection.execute(f"select * from {table}")
        connection.execute("drop schema public cascade")  # it is the owner of all in it


def test_files_of_redis_that_root_owned_are_handed_over(home: Path):
    (home / "redis").mkdir(mode=0o755)
    (home / "redis/appendonly.aof").write_bytes(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n")
    with server.running(redis_server.prepare(home)) as url, redis.Redis.from_url(url) as client:
        assert client.get("k") == b"v"
    assert (home / "redis/appendonly.aof").stat().st_mode & 0o777 == 0o600
