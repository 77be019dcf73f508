"""docker-compose.yml, Dockerfile and the code fit together.

No container engine runs where the tests run. So the files are held to each other here, and
`test_services_of_the_compose_file_take_and_store_a_reading` runs the commands of the compose file as processes, in
a folder that holds what the image would.
"""

import contextlib
import fnmatch
import json
import os
import re
import runpy
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from dataclasses import fields
from http.client import HTTPException
from pathlib import Path
from types import SimpleNamespace

import click
import psycopg
import pytest
import yaml

from deploy import health
from devstack import programs, redis_server
from models.database import WORKER_POOL_SIZE
from models.settings import Settings, load_settings
from tests.factories import meter

ROOT = Path(__file__).parents[2]
ENGINE_SERVICES = {"migrate", "web", "worker", "beat"}
MONITORING = {"prometheus", "grafana"}
SETTINGS = {field.name.upper() for field in fields(Settings)}
SECRETS = {"POSTGRES_PASSWORD": "p@ss/w:rd"}
# Read by libpq and by prometheus-client, not by us.
FOREIGN_VARIABLES = {"PGPASSWORD", "PROMETHEUS_MULTIPROC_DIR"}


# ── The compose file ─────────────────────────────────────────────────────────────────────────────────────────────


def compose(**variables: str) -> dict:
    """The compose file as `docker compose` would read it with these variables set, and no others."""
    text = (ROOT / "docker-compose.yml").read_text()
    return _interpolate(yaml.safe_load(text), SECRETS | variables)


def _interpolate(node, variables: dict[str, str]):
    if isinstance(node, dict):
        return {key: _interpolate(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [_interpolate(value, variables) for value in node]
    if not isinstance(node, str):
        return node
    while match := re.search(r"\$\{(\w+)(?::(-|\?)([^${}]*))?\}", node):  # the innermost first
        name, operator, text = match.groups()
        value = variables.get(name, "")
        if not value and operator == "?":
            raise ValueError(f"{name}: {text}")
        node = node[: match.start()] + (value or text or "") + node[match.end() :]
    return node


def seconds(duration: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(s|m)", duration).groups()
    return int(number) * {"s": 1, "m": 60}[unit]


def _option(command: list[str], name: str) -> str:
    return next(word.split("=", 1)[1] for word in command if word.startswith(f"{name}="))


@pytest.fixture(scope="module")
def services() -> dict:
    return compose()["services"]


def test_services_are_those_of_the_design(services):
    assert set(services) == {"postgres", "redis"} | ENGINE_SERVICES | MONITORING
    assert {name for name, service in services.items() if "profiles" in service} == MONITORING
    assert {tuple(services[name]["profiles"]) for name in MONITORING} == {("monitoring",)}


def test_password_must_be_given_and_is_nowhere_in_the_repository(services):
    with pytest.raises(ValueError, match="POSTGRES_PASSWORD"):
        compose(POSTGRES_PASSWORD="")
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"] == SECRETS["POSTGRES_PASSWORD"]
    example = (ROOT / ".env.example").read_text()
    assert re.search(r"^POSTGRES_PASSWORD=$", example, re.MULTILINE)


def test_variables_of_the_example_are_those_of_the_compose_file():
    text = re.sub(r"^#.*", "", (ROOT / "docker-compose.yml").read_text(), flags=re.MULTILINE)
    shown = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert set(shown) == set(re.findall(r"\$\{(\w+)", text)) - SETTINGS - {"ENERGY_IMAGE"}
    defaults = dict(re.findall(r"\$\{(\w+):-([^${}]*)\}", text))
    assert shown == {name: defaults.get(name, "") for name in shown}


@pytest.mark.parametrize("name", sorted(ENGINE_SERVICES))
def test_every_setting_reaches_the_service_and_nothing_else_does(name):
    given = {setting: f"value-of-{setting}" for setting in SETTINGS}
    environment = compose(**given)["services"][name]["environment"]
    assert set(environment) - FOREIGN_VARIABLES == SETTINGS
    assert {setting: environment[setting] for setting in SETTINGS} == given


def test_defaults_of_the_compose_file_are_those_of_the_code(services, monkeypatch):
    environment = services["web"]["environment"]
    for setting in SETTINGS:
        monkeypatch.delenv(setting, raising=False)
    monkeypatch.setenv("DATABASE_URL", environment["DATABASE_URL"])
    monkeypatch.setenv("REDIS_URL", environment["REDIS_URL"])
    by_code = load_settings()
    for setting in SETTINGS:
        monkeypatch.setenv(setting, environment[setting])
    assert load_settings() == by_code


def test_another_redis_is_the_broker_too_unless_told_otherwise():
    environment = compose(REDIS_URL="redis://elsewhere:6379/0")["services"]["worker"]["environment"]
    assert environment["CELERY_BROKER_URL"] == "redis://elsewhere:6379/0"


def test_password_reaches_postgres_with_characters_that_a_url_would_have_to_escape(services, monkeypatch):
    environment = services["web"]["environment"]
    assert environment["PGPASSWORD"] == SECRETS["POSTGRES_PASSWORD"]
    url = psycopg.conninfo.conninfo_to_dict(environment["DATABASE_URL"])
    assert "password" not in url
    assert (url["user"], url["dbname"]) == (
        services["postgres"]["environment"]["POSTGRES_USER"],
        services["postgres"]["environment"]["POSTGRES_DB"],
    )
    assert url["host"] == "postgres"


# ── Servers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_redis_keeps_what_it_acknowledged(services, tmp_path):
    command = services["redis"]["command"]
    given = dict(zip(command[::2], command[1::2], strict=True))
    assert given["--appendonly"] == "yes"
    assert given["--appendfsync"] == "always"
    assert given["--save"] == ""
    assert given["--maxmemory-policy"] == "noeviction"
    embedded = redis_server.prepare(tmp_path).argv[1:]
    embedded = dict(zip(embedded[::2], embedded[1::2], strict=True))
    machine = {"--bind", "--port", "--dir", "--loglevel", "--protected-mode"}
    assert {name: value for name, value in given.items() if name not in machine} == {
        name: value for name, value in embedded.items() if name not in machine
    }
    assert services["redis"]["volumes"] == [f"redis:{given['--dir']}"]


def test_redis_starts_with_these_options(services, tmp_path):
    command = [word.replace("/data", str(tmp_path)) for word in services["redis"]["command"]]
    server = subprocess.Popen(
        [redis_server.executable(), *command, "--port", "0", "--unixsocket", f"{tmp_path}/s"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert any("ready to accept" in line.lower() for line in server.stdout)
    finally:
        server.terminate()
        server.communicate(timeout=10)


def test_postgres_commits_to_disk_and_speaks_utc(services, servers):
    given = dict(word.removeprefix("-c").split("=", 1) for word in services["postgres"]["command"][1:])
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        assert given[name] == "on"
    assert given["timezone"] == given["log_timezone"] == "UTC"
    with psycopg.connect(servers.database_url) as connection:
        known = {name for (name,) in connection.execute("select name from pg_settings")}
    assert {name.lower() for name in given} <= {name.lower() for name in known}


def test_postgres_has_connections_for_what_is_configured(services):
    given = dict(word.removeprefix("-c").split("=", 1) for word in services["postgres"]["command"][1:])
    web = int(_option(services["web"]["command"], "--workers")) * int(services["web"]["environment"]["DB_POOL_SIZE"])
    a_worker = int(_option(services["worker"]["command"], "--concurrency")) * WORKER_POOL_SIZE
    assert web + 10 * a_worker < int(given["max_connections"])


def test_data_of_postgres_is_on_the_volume(services):
    # From 18 on the image refuses a volume at /var/lib/postgresql/data.
    major = int(re.match(r"postgres:(\d+)", services["postgres"]["image"])[1])
    assert major >= 18
    assert services["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]
    assert set(compose()["volumes"]) == {"postgres", "redis"} | MONITORING


# ── Network, order, stopping, restrictions ───────────────────────────────────────────────────────────────────────


def test_only_the_web_is_published_and_on_this_machine_only(services):
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"web"} | MONITORING
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert services["web"]["ports"] == ["127.0.0.1:8000:8000"]
    assert compose(WEB_BIND="0.0.0.0", WEB_PORT="80")["services"]["web"]["ports"] == ["0.0.0.0:80:8000"]
    assert compose()["networks"]["inside"] == {"internal": True}
    for name, service in services.items():
        assert service["networks"] == (["inside", "outside"] if name in published else ["inside"])


def test_one_port_in_granian_health_check_publication_and_image(services):
    web = services["web"]
    port = _option(web["command"], "--port")
    assert web["ports"][0].rsplit(":", 1)[1] == port
    assert web["healthcheck"]["test"][-1] == port
    assert ["EXPOSE", port] in [line[:2] for line in _dockerfile()[-1]]


def test_worker_can_be_scaled(services):
    assert not {"container_name", "hostname", "ports"} & set(services["worker"])


def test_start_is_in_order(services):
    for name in ("web", "worker", "beat"):
        assert services[name]["depends_on"] == {
            "postgres": {"condition": "service_healthy"},
            "redis": {"condition": "service_healthy"},
            "migrate": {"condition": "service_completed_successfully"},
        }
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["migrate"]["restart"] == "no"


def test_what_runs_on_has_a_health_check_and_is_restarted(services):
    for name, service in services.items():
        if name != "migrate":
            assert service["restart"] == "unless-stopped"
            assert seconds(service["healthcheck"]["timeout"]) <= seconds(service["healthcheck"]["interval"])


def test_time_to_stop_is_longer_than_what_is_waited_for(services, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", services["worker"]["environment"]["DATABASE_URL"])
    monkeypatch.setenv("REDIS_URL", services["worker"]["environment"]["REDIS_URL"])
    settings = runpy.run_path(str(ROOT / "celeryconfig.py"))  # not imported: the tests' Celery has its own

    grace = {name: seconds(service["stop_grace_period"]) for name, service in services.items() if name != "migrate"}
    drain_seconds = int(services["worker"]["environment"]["DRAIN_SECONDS"])
    assert grace["worker"] > settings["worker_soft_shutdown_timeout"]
    assert grace["worker"] > 30 + drain_seconds  # the longest DRAIN_SECONDS, and a batch
    assert grace["web"] > int(_option(services["web"]["command"], "--workers-kill-timeout"))
    assert float(services["web"]["environment"]["DB_TIMEOUT_SECONDS"]) < int(
        _option(services["web"]["command"], "--workers-kill-timeout")
    )
    assert grace["postgres"] >= 60
    assert grace["redis"] >= 30


def test_containers_are_restricted(services):
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "cap_add" not in service
        assert "privileged" not in service
    assert services["postgres"]["user"] == "postgres"
    assert services["redis"]["user"] == "redis"


def test_grafana_does_not_start_without_a_password_and_nobody_else_asks_for_it(services, tmp_path):
    assert services["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"] == ""
    given = compose(GRAFANA_PASSWORD="s3cret")["services"]["grafana"]
    assert given["environment"]["GF_SECURITY_ADMIN_PASSWORD"] == "s3cret"
    shell, option, script = given["entrypoint"]
    script = script.replace("$$", "$").replace("/run.sh", "true")
    for password, status in (("", 1), ("s3cret", 0)):
        done = subprocess.run([shell, option, script], env={"GF_SECURITY_ADMIN_PASSWORD": password}, check=False)
        assert done.returncode == status


def test_folders_that_are_written_are_writable(services):
    for role in ("web", "worker"):
        assert services[role]["environment"]["PROMETHEUS_MULTIPROC_DIR"] in services[role]["tmpfs"]
    folder = str(Path(_option(services["beat"]["command"], "--schedule")).parent)
    assert folder in services["beat"]["tmpfs"]
    assert services["beat"]["healthcheck"]["test"][-1] == folder
    assert "/var/run/postgresql" in services["postgres"]["tmpfs"]
    for service in services.values():
        assert "/tmp" in service["tmpfs"]


# ── Commands ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_web_runs_as_in_development_but_for_where_and_how_many(services, tmp_path):
    settings = SimpleNamespace(host="0.0.0.0", port=8000, web_workers=2)
    development = programs.granian(settings)
    words = [word for given in services["web"]["command"] for word in given.split("=", 1)]
    assert set(words) - {"webapp:create_app", "15"} == set(development) - {"3"}


def test_granian_knows_the_options(services):
    from granian.cli import cli

    arguments = cli.make_context("granian", services["web"]["command"][1:]).params
    assert arguments["app"] == "webapp:create_app"
    assert arguments["blocking_threads"] >= int(services["web"]["environment"]["DB_POOL_SIZE"])


@pytest.mark.parametrize("name", ["worker", "beat"])
def test_celery_knows_the_options(services, servers, name):
    from celery.bin.beat import beat
    from celery.bin.worker import worker

    program, quiet, a, app, subcommand, *options = services[name]["command"]
    assert (program, quiet, a, app, subcommand) == ("celery", "--quiet", "-A", "workers", name)
    command = {"worker": worker, "beat": beat}[name]
    known = {option for parameter in command.params for option in parameter.opts if isinstance(parameter, click.Option)}
    assert {option.split("=")[0] for option in options} <= known


def test_migrations_are_found_where_the_command_runs(services):
    from alembic.config import Config

    assert services["migrate"]["command"] == ["alembic", "upgrade", "head"]
    assert Path(Config(ROOT / "alembic.ini").get_main_option("script_location")).is_dir()


# ── The image ────────────────────────────────────────────────────────────────────────────────────────────────────


def _dockerfile() -> list[list[list[str]]]:
    """The stages of the Dockerfile, each a list of instructions, each a list of words."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    stages = []
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if words := shlex.split(line.replace("[", "").replace("]", "").replace('",', '"')):
            if words[0] == "FROM":
                stages.append([])
            stages[-1].append(words)
    return stages


def _copied() -> list[tuple[str, str]]:
    """What the last stage takes from the repository: source and target."""
    copies = [words[1:] for words in _dockerfile()[-1] if words[0] == "COPY" and not words[1].startswith("--from")]
    return [(source, target) for *sources, target in copies for source in sources]


def test_image_holds_exactly_what_runs():
    assert sorted(source for source, _ in _copied()) == [
        "alembic.ini",
        "celeryconfig.py",
        "deploy/energy",
        "deploy/health.py",
        "loadtool",
        "migrations",
        "models",
        "webapp",
        "workers",
    ]


def test_image_is_built_in_stages_from_one_python_that_the_project_supports():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    build, final = _dockerfile()
    assert build[0][1] == final[0][1]
    version = tuple(map(int, re.fullmatch(r"python:(\d+)\.(\d+)-slim", final[0][1]).groups()))
    minimum = re.fullmatch(r">=(\d+)\.(\d+)", project["requires-python"])
    assert version >= tuple(map(int, minimum.groups()))
    assert ["COPY", "--from=build", "/opt/venv", "/opt/venv"] in final


def test_image_has_no_development_tools_and_builds_nothing():
    build, final = _dockerfile()
    assert [words[1] for words in build if words[0] == "COPY"] == ["requirements.txt"]
    assert not [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("-r")]
    words = " ".join(word for stage in (build, final) for line in stage for word in line)
    for tool in ("apt-get", "gcc", "requirements-dev", "requirements-embedded", "devstack"):
        assert tool not in words
    assert "--only-binary" in words


def test_image_runs_as_nobody_special():
    final = _dockerfile()[-1]
    names = [words[0] for words in final]
    user = final[names.index("USER")][1]
    assert int(user) >= 1000
    # Nothing is copied or run after it, and what was copied before belongs to root.
    assert not {"RUN", "COPY", "ADD"} & set(names[names.index("USER") :])
    assert not [words for words in final if any(word.startswith("--chown") for word in words)]


def test_build_context_holds_what_is_copied_and_no_secret():
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]

    def ignored(path: str) -> bool:
        """As Docker does: the last rule that matches the path or a folder above it decides."""
        result = False
        for rule in rules:
            pattern = rule.removeprefix("!")
            above = ["/".join(path.split("/")[: n + 1]) for n in range(path.count("/") + 1)]
            anywhere = pattern.startswith("**/")
            tried = [part.rsplit("/", 1)[-1] if anywhere else part for part in above]
            if any(fnmatch.fnmatchcase(one, pattern.removeprefix("**/")) for one in tried):
                result = not rule.startswith("!")
        return result

    for secret in (".git/config", ".venv/bin/python", ".energy/env", ".env", "webapp/.env", "tests/conftest.py"):
        assert ignored(secret), secret
    assert ignored("models/__pycache__/x.pyc")
    for source in [*(source for source, _ in _copied()), "requirements.txt"]:
        assert (ROOT / source).exists()
        assert not ignored(source)
    assert not ignored("webapp/__init__.py")


# ── Health checks ────────────────────────────────────────────────────────────────────────────────────────────────


def _append_old_entry(broker, seconds_old: int) -> None:
    broker.xadd("telemetry:{0}", {"v1": b"x"}, id=f"{int((time.time() - seconds_old) * 1000)}-0")


def test_worker_is_well_without_a_backlog_and_with_a_young_one(resources, broker, alive):
    assert health.worker() is None
    _append_old_entry(broker, seconds_old=5)
    assert health.worker() is None
    broker.flushall()


def test_worker_is_unwell_when_its_position_stands_still(resources, broker, alive):
    _append_old_entry(broker, seconds_old=90)
    assert "shard 0 has not moved" in health.worker()
    broker.flushall()
    assert "no worker was heard" in health.worker()


@pytest.mark.parametrize(
    ("variable", "url"),
    [("DATABASE_URL", "postgresql://energy@127.0.0.1:1/energy"), ("REDIS_URL", "redis://127.0.0.1:1/0")],
)
def test_worker_is_not_blamed_for_a_server_that_is_away(resources, broker, alive, monkeypatch, variable, url):
    _append_old_entry(broker, seconds_old=90)
    monkeypatch.setenv(variable, url)
    assert health.worker() is None
    broker.flushall()


def test_web_is_unwell_when_it_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    assert "does not answer" in health.web(port)


def test_beat_is_unwell_when_it_stopped_writing(tmp_path):
    assert "has written no schedule" in health.beat(str(tmp_path))
    schedule = tmp_path / "schedule"
    schedule.touch()
    assert health.beat(str(tmp_path)) is None
    os.utime(schedule, (0, time.time() - 601))
    assert "has written no schedule" in health.beat(str(tmp_path))


# ── All of it, as processes ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def image(tmp_path) -> Path:
    """A folder with what the Dockerfile copies to /app, and nothing else."""
    app = tmp_path / "app"
    app.mkdir()
    for source, target in _copied():
        path = app / target / Path(source).name if target.endswith("/") else app / target
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, path, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            path.parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / source, path)
    return app


@pytest.fixture
def empty_servers(servers):
    """A database of its own without a schema, and an empty Redis database: (DATABASE_URL, REDIS_URL)."""
    import redis

    name = f"compose_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(f"create database {name}")
        redis_url = servers.redis_url.rsplit("/", 1)[0] + "/9"
        yield servers.database_url.rsplit("/", 1)[0] + f"/{name}", redis_url
        connection.execute(f"drop database {name} with (force)")
        with redis.Redis.from_url(redis_url) as client:
            client.flushdb()


def test_services_of_the_compose_file_take_and_store_a_reading(image, empty_servers, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    host = Host(image, tmp_path / "run", port, *empty_servers)
    host.run("migrate")
    with contextlib.ExitStack() as stack:
        for name in ("web", "worker", "beat"):
            stack.enter_context(host.running(name))
        url = f"http://127.0.0.1:{port}"
        _until(lambda: _get(f"{url}/health/ready")[0] == 200)
        assert _get(f"{url}/v1/telemetry", meter("M-compose"))[0] == 401
        key = host.ask("energy", "keys", "create", "--name", "device", "--scope", "ingest")
        _until(lambda: _get(f"{url}/v1/telemetry", meter("M-compose"), key)[0] == 202)
        status, receipt = _get(f"{url}/v1/telemetry", meter("M-compose"), key)
        assert status == 202
        _until(lambda: _get(f"{url}/v1/telemetry/receipts/{receipt['receipt']}", key=key)[1].get("state") == "stored")
        assert _stored(empty_servers[0], "M-compose") == 2
        _until(lambda: any((tmp_path / "run/run/beat").iterdir()))
        for name in ("web", "worker", "beat"):
            assert host.healthy(name), name
        assert list((tmp_path / "run/run/metrics").iterdir())


class Host:
    """Runs the services' commands as processes of this machine, each path and port put where it can be used."""

    def __init__(self, image: Path, run: Path, port: str, database_url: str, redis_url: str):
        variables = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "WEB_WORKERS": "1",
            "WORKER_CONCURRENCY": "1",
        }
        self.services = compose(**variables)["services"]
        self.image, self.root, self.port = image, run, port

    def prepare(self, name: str) -> dict:
        for folder in self.services[name]["tmpfs"]:
            (self.root / folder.removeprefix("/")).mkdir(parents=True, exist_ok=True)
        environment = {key: self.here(value) for key, value in self.services[name]["environment"].items()}
        # The image's ENV PATH; a clean environment otherwise.
        path = f"{self.image / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"cwd": self.image, "env": environment | {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}}

    def here(self, word: str) -> str:
        word = re.sub(r"(^|=)/run/", rf"\1{self.root}/run/", word)
        return word.replace("--host=0.0.0.0", "--host=127.0.0.1").replace("--port=8000", f"--port={self.port}")

    def run(self, name: str) -> None:
        subprocess.run([self.here(word) for word in self.services[name]["command"]], check=True, **self.prepare(name))

    def ask(self, *command: str) -> str:
        """What a command says that an operator gives within the web's container."""
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **self.prepare("web"))
        return done.stdout.strip()

    @contextlib.contextmanager
    def running(self, name: str):
        """The service, stopped on leaving as Docker stops it; it must end by itself within its grace period."""
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
            error.add_note(f"{name} said: {log.read_text()[-2000:]}")
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
    """The status and the JSON of an answer; (0, {}) where there is none yet. With a body it is a POST."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", "X-API-Key": key})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except (OSError, HTTPException):
        return 0, {}


def _until(true, seconds: float = 15) -> None:
    give_up_at = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up_at, "did not happen in time"
        time.sleep(0.1)


def _stored(database_url: str, device: str) -> int:
    with psycopg.connect(database_url) as connection:
        found = connection.execute("select count(*) from meter_readings_history where meter_id = %s", [device])
        return found.fetchone()[0]
