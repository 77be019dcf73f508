"""`energy`: its list of commands, its help, and the stack that it finds."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module

import click
import pytest

from tests import ROOT
from tests.processes import ENERGY, environment_without_stack
from webapp.commands import COMMANDS, energy, main
from webapp.commands.environment import use_local_stack

pytestmark = pytest.mark.slow


def test_help_lists_every_command_without_importing_any():
    program = """if True:
        import sys
        from click.testing import CliRunner
        from webapp.commands import COMMANDS, energy
        shown = CliRunner().invoke(energy, ["--help"])
        assert shown.exit_code == 0
        assert all(name in shown.output for name in COMMANDS)
        heavy = {"psycopg", "redis", "celery", "sqlalchemy", "urllib3", "rich"} & set(sys.modules)
        assert not heavy, heavy"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("name", "unneeded"),
    [
        ("status", {"flask", "sqlalchemy", "celery", "alembic", "marshmallow"}),
        ("doctor", {"flask", "sqlalchemy", "celery", "alembic", "marshmallow"}),
        ("keys", {"flask", "celery", "alembic"}),
        ("alerts", {"flask", "celery", "alembic"}),
        ("dead-letters", {"flask", "celery", "alembic"}),
    ],
)
def test_a_command_for_an_incident_imports_nothing_slow_that_it_does_not_need(name, unneeded):
    program = f"""if True:
        import sys
        from webapp.commands import COMMANDS
        __import__(COMMANDS[{name!r}].module)
        assert not {unneeded!r} & set(sys.modules), {unneeded!r} & set(sys.modules)"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_has_the_first_line_of_each_commands_help(name):
    command = energy.get_command(click.Context(energy), name)
    assert command.help.splitlines()[0].startswith(COMMANDS[name].help)


def leaves(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command that is no group, with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from leaves(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


def test_the_help_of_every_command_has_an_example():
    found = dict(leaves(energy))
    assert {"status", "keys create", "load steady", "export readings"} <= set(found)
    assert [words for words, command in found.items() if f"  energy {words}" not in command.help] == []


def test_the_installed_script_runs_the_commands():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, function = project["scripts"]["energy"].split(":")
    assert getattr(import_module(module), function) is main


def test_an_unknown_command_is_refused(runner):
    done = runner.invoke(args=["statsu"])
    assert (done.exit_code, "No such command 'statsu'" in done.output) == (2, True)


@pytest.fixture
def local_stack(tmp_path, monkeypatch):
    """A folder in which a stack of `make up` was started, and an environment without any."""
    for name in ("DATABASE_URL", "REDIS_URL", "ENERGY_API_URL", "ENERGY_API_KEY", "ENERGY_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "environ", os.environ.copy())  # what a command adds ends with the test
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".energy").mkdir()
    (tmp_path / ".energy/env").write_text(
        "DATABASE_URL='postgresql://me@127.0.0.1:1/it s'\nREDIS_URL=redis://127.0.0.1:2/0\n"
        "ENERGY_API_URL=http://127.0.0.1:3\nENERGY_API_KEY=local\n"
    )
    return tmp_path


def test_commands_find_the_stack_of_the_current_folder(local_stack):
    use_local_stack()
    assert os.environ["DATABASE_URL"] == "postgresql://me@127.0.0.1:1/it s"
    assert os.environ["REDIS_URL"] == "redis://127.0.0.1:2/0"
    assert (os.environ["ENERGY_API_URL"], os.environ["ENERGY_API_KEY"]) == ("http://127.0.0.1:3", "local")


def test_commands_find_the_stack_in_energy_home(local_stack, monkeypatch):
    (local_stack / ".energy").rename(local_stack / "elsewhere")
    use_local_stack()
    assert "DATABASE_URL" not in os.environ
    monkeypatch.setenv("ENERGY_HOME", str(local_stack / "elsewhere"))
    use_local_stack()
    assert "DATABASE_URL" in os.environ


def test_the_environment_has_precedence_and_is_not_mixed_with_the_folders_stack(local_stack, monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://redis.example/0")
    monkeypatch.setenv("ENERGY_API_URL", "https://energy.example")
    use_local_stack()
    assert os.environ["REDIS_URL"] == "redis://redis.example/0"
    assert os.environ["ENERGY_API_URL"] == "https://energy.example"
    assert not {"DATABASE_URL", "ENERGY_API_KEY"} & set(os.environ)


def test_a_missing_setting_is_named():
    done = subprocess.run(
        [*ENERGY, "partitions", "list"], cwd=ROOT, env=environment_without_stack(), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr
