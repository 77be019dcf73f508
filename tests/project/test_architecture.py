"""The architecture shows in the folders: imports go one way, webapp → workers (only to ring) → models."""

import ast
from pathlib import Path

import pytest

from tests import ROOT

ALLOWED = {
    "models": {"models"},
    "workers": {"workers", "models"},
    "webapp": {"webapp", "models", "workers.doorbell", "loadtool"},
    "migrations": {"models"},
}
OURS = {"models", "workers", "webapp", "migrations", "devstack", "tests"}
MAX_LINES = 300


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.split(".")[0] in OURS}


@pytest.mark.parametrize("folder", ALLOWED)
def test_imports_go_one_way(folder):
    for path in modules(folder):
        for name in imported(path):
            allowed = any(name == way or name.startswith(f"{way}.") for way in ALLOWED[folder])
            assert allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_the_web_holds_no_sql_and_no_redis_commands():
    for path in modules("webapp"):
        text = path.read_text()
        assert ".execute(" not in text, path
        assert "xadd" not in text.lower(), path


@pytest.mark.parametrize("folder", ALLOWED)
def test_modules_can_be_read_in_one_sitting(folder):
    for path in modules(folder):
        assert len(path.read_text().splitlines()) <= MAX_LINES, path


def test_no_test_module_imports_another():
    """What two test modules need stands in tests/factories.py, tests/processes.py or a module of their room."""
    for path in modules("tests"):
        borrowed = {name for name in imported(path) if name.rpartition(".")[2].startswith("test_")}
        assert not borrowed, f"{path.relative_to(ROOT)} imports {sorted(borrowed)}"
        assert "tests.conftest" not in imported(path), f"{path.relative_to(ROOT)}: fixtures are not imported"
