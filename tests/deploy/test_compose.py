"""docker-compose.yml, the settings of the code and the other files of the deployment agree."""

import re
import runpy
import subprocess
from pathlib import Path
from types import SimpleNamespace

import click
import psycopg
import pytest

from devstack import programs, redis_server
from models.database import WORKER_POOL_SIZE
from models.settings import load_settings
from tests import ROOT
from tests.deploy.compose_file import (
    ENGINE_SERVICES,
    FOREIGN_VARIABLES,
    MONITORING,
    SECRETS,
    SETTINGS,
    compose,
    dockerfile,
    option,
    seconds,
)


def test_services_are_those_of_the_design(services):
    assert set(services) == {"postgres", "redis"} | ENGINE_SERVICES | MONITORING
    assert {name for name, service in services.items() if "profiles" in service} == MONITORING
    assert {tuple(services[name]["profiles"]) for name in MONITORING} == {("monitoring",)}


def test_password_is_required_and_not_in_the_repository(services):
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


def test_another_redis_is_the_broker_too_by_default():
    environment = compose(REDIS_URL="redis://elsewhere:6379/0")["services"]["worker"]["environment"]
    assert environment["CELERY_BROKER_URL"] == "redis://elsewhere:6379/0"


def test_password_may_hold_characters_that_a_url_must_escape(services, monkeypatch):
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


def test_redis_is_durable(services, tmp_path):
    command = services["redis"]["command"]
    given = dict(zip(command[::2], command[1::2], strict=True))
    assert given["--appendonly"] == "yes"
    assert given["--appendfsync"] == "always"
    assert given["--save"] == ""
    assert given["--maxmemory-policy"] == "noeviction"
    embedded = redis_server.prepare(tmp_path).argv[1:]
    embedded = dict(zip(embedded[::2], embedded[1::2], strict=True))
    machine = {"--bind", "--port", "--dir", "--loglevel", "--protected-mode", "--aclfile"}
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


def test_postgres_commits_to_disk_and_runs_in_utc(services, servers):
    given = dict(word.removeprefix("-c").split("=", 1) for word in services["postgres"]["command"][1:])
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        assert given[name] == "on"
    assert given["timezone"] == given["log_timezone"] == "UTC"
    with psycopg.connect(servers.database_url) as connection:
        known = {name for (name,) in connection.execute("select name from pg_settings")}
    assert {name.lower() for name in given} <= {name.lower() for name in known}


def test_postgres_has_connections_for_what_is_configured(services):
    given = dict(word.removeprefix("-c").split("=", 1) for word in services["postgres"]["command"][1:])
    web = int(option(services["web"]["command"], "--workers")) * int(services["web"]["environment"]["DB_POOL_SIZE"])
    a_worker = int(option(services["worker"]["command"], "--concurrency")) * WORKER_POOL_SIZE
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
    port = option(web["command"], "--port")
    assert web["ports"][0].rsplit(":", 1)[1] == port
    assert web["healthcheck"]["test"][-1] == port
    assert ["EXPOSE", port] in [line[:2] for line in dockerfile()[-1]]


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


def test_every_long_running_service_has_a_health_check_and_is_restarted(services):
    for name, service in services.items():
        if name != "migrate":
            assert service["restart"] == "unless-stopped"
            assert seconds(service["healthcheck"]["timeout"]) <= seconds(service["healthcheck"]["interval"])


def test_stop_grace_periods_exceed_the_timeouts_inside(services, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", services["worker"]["environment"]["DATABASE_URL"])
    monkeypatch.setenv("REDIS_URL", services["worker"]["environment"]["REDIS_URL"])
    settings = runpy.run_path(str(ROOT / "celeryconfig.py"))  # not imported: the tests' Celery has its own

    grace = {name: seconds(service["stop_grace_period"]) for name, service in services.items() if name != "migrate"}
    drain_seconds = int(services["worker"]["environment"]["DRAIN_SECONDS"])
    assert grace["worker"] > settings["worker_soft_shutdown_timeout"]
    assert grace["worker"] > 30 + drain_seconds  # the longest DRAIN_SECONDS, and a batch
    assert grace["web"] > int(option(services["web"]["command"], "--workers-kill-timeout"))
    assert float(services["web"]["environment"]["DB_TIMEOUT_SECONDS"]) < int(
        option(services["web"]["command"], "--workers-kill-timeout")
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


def test_only_grafana_needs_its_password(services, tmp_path):
    assert services["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"] == ""
    given = compose(GRAFANA_PASSWORD="s3cret")["services"]["grafana"]
    assert given["environment"]["GF_SECURITY_ADMIN_PASSWORD"] == "s3cret"
    shell, option, script = given["entrypoint"]
    script = script.replace("$$", "$").replace("/run.sh", "true")
    for password, status in (("", 1), ("s3cret", 0)):
        done = subprocess.run([shell, option, script], env={"GF_SECURITY_ADMIN_PASSWORD": password}, check=False)
        assert done.returncode == status


def test_folders_written_at_run_time_are_writable(services):
    for role in ("web", "worker"):
        assert services[role]["environment"]["PROMETHEUS_MULTIPROC_DIR"] in services[role]["tmpfs"]
    folder = str(Path(option(services["beat"]["command"], "--schedule")).parent)
    assert folder in services["beat"]["tmpfs"]
    assert services["beat"]["healthcheck"]["test"][-1] == folder
    assert "/var/run/postgresql" in services["postgres"]["tmpfs"]
    for service in services.values():
        assert "/tmp" in service["tmpfs"]


# ── Commands ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_web_command_differs_from_development_only_in_address_and_worker_count(services, tmp_path):
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
