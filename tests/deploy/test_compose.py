"""docker-compose.yml, the settings of the code and the other files of the deployment agree."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from devstack import programs
from models.settings import load_settings
from tests import ROOT
from tests.deploy.compose_file import (
    ENGINE_SERVICES,
    FOREIGN_VARIABLES,
    IN_FILES,
    MONITORING,
    PROXY,
    SETTINGS,
    compose,
)


def test_services_are_those_of_the_design(services):
    assert set(services) == {"postgres", "redis"} | ENGINE_SERVICES | MONITORING | PROXY
    profiles = {name: service["profiles"] for name, service in services.items() if "profiles" in service}
    assert profiles == {"prometheus": ["monitoring"], "grafana": ["monitoring"], "proxy": ["proxy"]}


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
    by_code = replace(load_settings(), allowed_hosts="web")  # the host that Prometheus asks
    for setting in SETTINGS - {f"{name}_FILE" for name in IN_FILES}:
        monkeypatch.setenv(setting, environment[setting])
    assert load_settings() == by_code


def test_servers_elsewhere_may_have_no_password_or_one_in_the_url():
    given = {"REDIS_URL": "redis://elsewhere:6379/0", "REDIS_PASSWORD_FILE": ""}
    environment = compose(**given)["services"]["worker"]["environment"]
    assert (environment["REDIS_PASSWORD_FILE"], environment["CELERY_BROKER_URL"]) == ("", "")


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
