"""Checks, starts, watches and stops the stack."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import urllib3

from devstack import StackError, access, lock, postgres_server, private, programs, redis_server, server
from devstack.output import Output
from devstack.settings import Settings
from devstack.supervision import Events, Supervisor, supervised
from models.environment import declared
from models.settings import Settings as EngineSettings
from models.settings import load_settings

START_SECONDS = 15  # an embedded server that still fails then will not recover by itself
CALM_SECONDS = 30  # for the banner to be last on the screen; a large fleet takes longer to catch up
URLS = {"postgres": "DATABASE_URL", "redis": "REDIS_URL"}
REACH_SECONDS = 5  # for servers named by DATABASE_URL and REDIS_URL


def run(settings: Settings) -> None:
    """Starts everything and returns only by an exception: SystemExit for a requested stop, or StackError."""
    engine = check_engine_settings(settings)
    private.make_home(settings.home)
    with lock.held(settings.home) as held:
        if not server.free_port(settings.host, settings.port):
            raise StackError(
                f"port {settings.port} on {settings.host} is in use; choose another: PORT={settings.port + 1} make up"
            )
        embedded = embedded_servers(settings)
        urls = {s.name: s.url for s in embedded}
        database_url = urls.get("postgres", settings.database_url)
        redis_url = urls.get("redis", settings.redis_url)
        for name, url in (("postgres", engine.database_url), ("redis", engine.redis_url)):
            if name not in urls:
                server.wait_until_answering(URLS[name], url, failed=lambda: False, seconds=REACH_SECONDS)

        key = access.read_or_create_key(settings.home) if settings.auth == "required" else None
        environment = programs.environment(settings, database_url, redis_url, embedded)
        publish(settings, environment, key)
        applications = programs.applications(settings)
        everything = [*programs.servers(embedded), *applications]
        events = Events()
        with (
            programs.metrics_folders(settings.home),
            Output(settings.home / "log", [p.name for p in everything], events.translate) as output,
            supervised(settings.home, everything, environment, held, output.say) as supervisor,
        ):
            output.say(f"starting, with data and logs in {settings.home}")
            try:
                start(supervisor, embedded, applications, environment, key, settings, output)
                supervisor.process.wait()
                raise StackError("supervisord ended unexpectedly; everything is stopped")
            finally:
                output.say("stopping")


def check_engine_settings(settings: Settings) -> EngineSettings:
    """The engine's settings, which it would read itself. Raises SettingsError before anything is started."""
    # The embedded servers have no URL yet.
    urls = settings.database_url or "postgresql://", settings.redis_url or "redis://"
    return load_settings(programs.environment(settings, *urls))


def embedded_servers(settings: Settings) -> list[server.Server]:
    """The servers that no variable names, ready to start."""
    home, chosen = settings.home, []
    if _is_embedded(settings.database_url, home / "postgres.port"):
        chosen.append(postgres_server.prepare(home))
    if _is_embedded(settings.redis_url, home / "redis.port"):
        chosen.append(redis_server.prepare(home, settings.redis_maxmemory))
    return chosen


def _is_embedded(url: str, port: Path) -> bool:
    # A shell that has read the `env` file passes the addresses of the embedded servers.
    return not url or (port.exists() and f"127.0.0.1:{port.read_text()}/" in url)


def start(
    supervisor: Supervisor,
    embedded: list[server.Server],
    applications: list[programs.Program],
    environment: dict[str, str],
    key: str | None,
    settings: Settings,
    output: Output,
) -> None:
    """Starts servers, migrations and applications, in this order; returns when the API answers."""
    for each in embedded:
        supervisor.start(each.name)
    for each in embedded:
        server.wait_until_answering(each.name, each.url, failed=_fails_for_long(supervisor, each.name))
    migrate(environment, output)
    if key:
        access.register_key(key, environment["DATABASE_URL"])
    simulator = [program for program in applications if program.name == "simulate"]
    for program in applications:
        if program not in simulator:
            supervisor.start(program.name)
    wait_until_live(settings.url)
    is_simulating = output.expect("simulate", " are live")
    for program in simulator:
        supervisor.start(program.name)
    deadline = time.monotonic() + CALM_SECONDS
    while (wrong := parts_not_ready(settings.url)) and time.monotonic() < deadline:
        time.sleep(0.5)
    if simulator:
        is_simulating.wait(max(0.0, deadline - time.monotonic()))
    welcome(settings, output)
    if wrong:
        output.say(f"not ready  {', '.join(wrong)}; see: energy doctor")


def _fails_for_long(supervisor: Supervisor, name: str) -> Callable[[], bool]:
    deadline = time.monotonic() + START_SECONDS
    return lambda: time.monotonic() > deadline and supervisor.is_failing(name)


def migrate(environment: dict[str, str], output: Output) -> None:
    command = [*programs.PYTHON, "alembic", "upgrade", "head"]
    with subprocess.Popen(  # noqa: S603 (a fixed command)
        command,
        cwd=programs.ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as alembic:
        try:
            for line in alembic.stdout or ():
                output.line("migrate", line.rstrip())
        except BaseException:  # a requested stop: Postgres rolls the migration back
            alembic.kill()
            raise
    if alembic.returncode:
        raise StackError(f"the migrations failed (exit status {alembic.returncode})")


def wait_until_live(url: str) -> None:
    """Returns once the API answers. The terminal shows why it does not."""
    while True:
        try:
            if _get(f"{url}/health/live", seconds=2).status == 200:
                return
        except urllib3.exceptions.HTTPError:
            pass
        time.sleep(0.2)


def parts_not_ready(url: str) -> list[str]:
    """The parts that /health/ready calls wrong."""
    try:
        return list(_get(f"{url}/health/ready", seconds=5).json().get("errors", {}))
    except (urllib3.exceptions.HTTPError, ValueError):
        return ["web"]


def _get(url: str, seconds: float) -> urllib3.BaseHTTPResponse:
    # A connection that stays open would delay the stop of its web process.
    return urllib3.request("GET", url, headers={"Connection": "close"}, retries=False, timeout=seconds)


def publish(settings: Settings, environment: dict[str, str], key: str | None) -> None:
    """Writes the addresses for shells (`env`), and the engine's settings for the commands (`settings`)."""
    engine = [
        variable
        for name, setting in declared(EngineSettings).items()
        for variable in ([name, f"{name}_FILE"] if setting.has_secret else [name])
    ]
    # Without AUTH and the like: a shell would pass them to the next start, which may listen on another address.
    addresses = {name: environment[name] for name in ("DATABASE_URL", "REDIS_URL", "ENERGY_HOME")}
    _write(settings.home / "env", addresses | {"ENERGY_API_URL": settings.url, "ENERGY_API_KEY": key or ""})
    _write(settings.home / "settings", {name: environment.get(name, "") for name in engine if name not in addresses})


def _write(file: Path, variables: dict[str, str]) -> None:
    private.write_for(None, file, "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items()))


def welcome(settings: Settings, output: Output) -> None:
    now = "'$(date -u +%Y-%m-%dT%H:%M:%SZ)'"
    vehicle = f'{{"vehicleId":"V001","soc":63.5,"kwhDeliveredDc":0.11,"batteryTemp":27.4,"timestamp":"{now}"}}'
    meter = f'{{"meterId":"M001","kwhConsumedAc":0.13,"voltage":230.1,"timestamp":"{now}"}}'
    output.say(f"ready      {settings.url}/")
    output.say(f"docs       {settings.url}/docs")
    installed = Path(sys.executable).with_name("energy")
    energy = os.path.relpath(installed) if installed.exists() else "python -m webapp.commands"
    output.say(f"commands   {energy} --help")
    output.say(f"logs       {os.path.relpath(settings.home / 'log')}: with every line, here are the important ones")
    output.say(f"elsewhere  set -a; . {shlex.quote(str(settings.home / 'env'))}   for psql and redis-cli too")
    output.say("try        this, in another terminal:")
    key = ' -H "Authorization: Bearer $ENERGY_API_KEY"' if settings.auth == "required" else ""
    output.plain(f"curl {settings.url}/v1/telemetry{key} -H 'Content-Type: application/json' -d '[{vehicle},{meter}]'")
