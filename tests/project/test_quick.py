"""`make quick` leaves out what starts processes: what runs there is a function, a statement or a request at a time."""

import ast
from pathlib import Path

import pytest

from tests import ROOT

# Of tests.processes, tests.devstack.stack and the modules that use them.
STARTS_PROCESSES = {"serving", "running", "started", "Popen", "wait_until_live", "logged"}
FIXTURES = {"port", "proxy", "cluster", "reader", "stack", "ground"}


def is_slow(mark: ast.expr) -> bool:
    return "mark.slow" in ast.unparse(mark)


def quick_parts(path: Path) -> list[ast.stmt]:
    """The statements of a test module without those that are marked slow; none if all of it is."""
    body = ast.parse(path.read_text()).body
    if any(isinstance(node, ast.Assign) and is_slow(node) for node in body):
        return []
    return [node for node in body if not any(map(is_slow, getattr(node, "decorator_list", [])))]


QUICK = {
    str(path.relative_to(ROOT)): parts
    for path in sorted((ROOT / "tests").rglob("test_*.py"))
    if (parts := quick_parts(path))
}


def test_most_modules_have_quick_tests():
    assert len(QUICK) > 75
    assert "tests/promises/test_exactly_once.py" in QUICK


@pytest.mark.parametrize("module", QUICK)
def test_quick_tests_start_no_processes(module):
    for part in QUICK[module]:
        for node in ast.walk(part):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                assert called not in STARTS_PROCESSES, f"{module}:{node.lineno} starts a process: mark it slow"
            if isinstance(node, ast.FunctionDef):
                slow = FIXTURES & {argument.arg for argument in node.args.args}
                assert not slow, f"{module}:{node.lineno} uses {slow}: mark it slow"
