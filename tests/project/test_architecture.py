"""Rules of the layout that import-linter and ruff do not check. The layers are contracts in pyproject.toml."""

import ast
from pathlib import Path

import pytest

from tests import ROOT

PRODUCT = ("models", "webapp", "workers", "loadtool", "devstack", "migrations")
MAX_LINES = 300
# Rooms of tests that are about more than one room of the product.
TESTS_ACROSS_ROOMS = {"chaos", "project", "promises"}


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def rooms(folder: str) -> set[str]:
    return {path.parent.name for path in (ROOT / folder).glob("*/__init__.py")}


def imports(path: Path) -> set[str]:
    """The names of the imported modules, and of what is imported from them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_migrations_import_nothing_of_the_programs():
    """import-linter does not see them: `migrations` is no package."""
    for path in modules("migrations"):
        packages = {name.split(".")[0] for name in imports(path)}
        assert not packages & {"webapp", "workers", "loadtool", "devstack"}, path


def test_the_web_holds_no_sql_and_no_redis_commands():
    for path in modules("webapp"):
        text = path.read_text()
        assert ".execute(" not in text, path
        assert "xadd" not in text.lower(), path


@pytest.mark.parametrize("folder", PRODUCT)
def test_modules_are_small(folder):
    for path in modules(folder):
        assert len(path.read_text().splitlines()) <= MAX_LINES, path


def test_tests_stand_in_rooms_named_as_in_the_product():
    assert rooms("tests") <= rooms("models") | {"webapp"} | TESTS_ACROSS_ROOMS
    assert not list((ROOT / "tests").glob("test_*.py"))


def test_no_test_module_imports_another():
    """What two test modules need stands in tests/factories.py, tests/processes.py or a module of their room."""
    for path in modules("tests"):
        borrowed = {name for name in imports(path) if name.rpartition(".")[2].startswith("test_")}
        assert not borrowed, f"{path.relative_to(ROOT)} imports {sorted(borrowed)}"
        assert "tests.conftest" not in imports(path), f"{path.relative_to(ROOT)}: fixtures are not imported"
