"""`make quick` leaves out what starts processes: what runs there is a function, a statement or a request at a time."""

import ast
import subprocess
import sys

import pytest

from tests import ROOT

# Of tests.processes, tests.devstack.stack and the fixtures that use them.
STARTS_PROCESSES = {"serving", "running", "started", "Popen", "wait_until_live", "logged"}
FIXTURES = {"port", "proxy", "cluster", "reader", "stack", "ground"}
# Starts Redis, for less than a second.
ALLOWED = {"tests/deploy/test_containers.py"}


@pytest.fixture(scope="module")
def quick() -> dict[str, set[str]]:
    """The tests of `make quick`: their names by module."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "not slow", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, "--override-ini=addopts=", "tests"], cwd=ROOT, capture_output=True, text=True)
    found: dict[str, set[str]] = {}
    for line in done.stdout.splitlines():
        module, _, name = line.partition("::")
        if name:
            found.setdefault(module, set()).add(name.split("[")[0].split("::")[-1])
    assert done.returncode == 0, done.stdout
    return found


def test_most_tests_are_quick(quick):
    assert len(quick) > 75
    assert "tests/promises/test_exactly_once.py" in quick


def test_quick_tests_start_no_processes(quick):
    for module in set(quick) - ALLOWED:
        tree = ast.parse((ROOT / module).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                assert called not in STARTS_PROCESSES, f"{module}:{node.lineno} starts a process: mark it slow"
            if isinstance(node, ast.FunctionDef) and node.name in quick[module]:
                asked = FIXTURES & {argument.arg for argument in node.args.args}
                assert not asked, f"{module}::{node.name} uses {asked}: mark it slow"
