"""Rules of the layout that import-linter and ruff do not check. The layers are contracts in pyproject.toml."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from tests import ROOT

PRODUCT = ("models", "webapp", "workers", "loadtool", "devstack", "migrations")
MAX_LINES = 300
MAX_MODULES = 15  # of a folder
# Rooms of tests that are about more than one room of the product.
TESTS_ACROSS_ROOMS = {"chaos", "project", "promises", "security"}


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


def layers_in_contracts() -> dict[str, list[set[str]]]:
    """Each package's rooms by layer, the highest first, from the contracts in pyproject.toml."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    found = {}
    for contract in contracts:
        if contract["type"] == "layers":
            layers = [{name.strip() for name in layer.split("|")} for layer in contract["layers"]]
            package = contract.get("containers", [""])[0]
            if not package and all("." in name for layer in layers for name in layer):
                package = next(iter(layers[0])).split(".")[0]
            found[package] = [{name.removeprefix(f"{package}.") for name in layer} for layer in layers]
    return found


def layers_in_picture() -> dict[str, list[set[str]]]:
    """The same from the first picture of docs/architecture.md."""
    picture = re.search(r"```mermaid\n(.*?)```", (ROOT / "docs/architecture.md").read_text(), re.DOTALL)[1]
    drawn = re.findall(r"subgraph (\w+)\n(.*?)\n  end", picture, re.DOTALL)
    return {name: [set(row.split(" · ")) for row in re.findall(r'\["(.*?)"\]', body)] for name, body in drawn}


@pytest.mark.parametrize("package", ["models", "webapp"])
def test_the_picture_of_the_rooms_is_that_of_the_contracts(package):
    assert layers_in_picture()[package] == layers_in_contracts()[package]


@pytest.mark.parametrize("package", ["models", "webapp"])
def test_every_room_has_a_layer(package):
    """A room without a layer could import everything."""
    placed = {name.split(".")[0] for layer in layers_in_contracts()[package] for name in layer}
    there = {
        path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert there - {"__init__"} == placed


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
def test_modules_and_folders_are_small(folder):
    for path in modules(folder):
        assert len(path.read_text().splitlines()) <= MAX_LINES, path
    for place in {path.parent for path in modules(folder)}:
        assert len(list(place.glob("[!_]*.py"))) <= MAX_MODULES, place


def test_tests_stand_in_rooms_named_as_in_the_product():
    assert rooms("tests") <= rooms("models") | {*PRODUCT, "deploy"} | TESTS_ACROSS_ROOMS
    assert not list((ROOT / "tests").glob("test_*.py"))


def test_no_test_module_imports_another():
    """What two test modules need stands in tests/factories.py, tests/processes.py or a module of their room."""
    for path in modules("tests"):
        borrowed = {name for name in imports(path) if name.rpartition(".")[2].startswith("test_")}
        assert not borrowed, f"{path.relative_to(ROOT)} imports {sorted(borrowed)}"
        assert "tests.conftest" not in imports(path), f"{path.relative_to(ROOT)}: fixtures are not imported"
