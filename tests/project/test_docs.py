"""The documents agree with the code, and the links and paths in them exist."""

import ast
import io
import re
import subprocess
import tokenize
from pathlib import Path

import pytest

from deploy import settings_page
from tests import ROOT


def test_the_settings_page_is_made_from_the_declarations():
    assert (ROOT / "docs/settings.md").read_text() == settings_page.page(), "run: make docs"


def test_variables_that_the_page_adds_are_read_somewhere():
    code = "".join(
        path.read_text() for room in ("webapp", "models", "loadtool") for path in (ROOT / room).rglob("*.py")
    )
    added = re.findall(r"^- `([A-Z_]+)`", settings_page.OTHERS, re.MULTILINE)
    assert len(added) == 3
    for name in added:
        assert f'"{name}"' in code


def listed(*patterns: str) -> list[Path]:
    """The repository's files of these patterns, also those not committed yet."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in found.stdout.splitlines() if (ROOT / name).exists()]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", listed("*.md"), ids=name_of)
def test_every_relative_link_leads_somewhere(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = path.parent / file if file else path
        assert found.exists(), f"{target} leads nowhere"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{target}: there is no such heading"


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to the headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")} - {"docs"}
PATH = re.compile(rf"(?<![\w/.-])(?:(?:{'|'.join(FOLDERS)})/[\w./-]*\w(?![\w<])|docs/[\w-]+\.md)")


def comments_and_docstrings(path: Path) -> str:
    code = path.read_text()
    comments = [t.string for t in tokenize.generate_tokens(io.StringIO(code).readline) if t.type == tokenize.COMMENT]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(code)) if isinstance(node, documented)]
    return "\n".join(comments + docstrings)


@pytest.mark.parametrize("path", listed("*.md", "*.py", "*.sql"), ids=name_of)
def test_every_path_that_a_text_names_exists(path):
    text = comments_and_docstrings(path) if path.suffix == ".py" else path.read_text()
    made_at_run_time = (ROOT / ".gitignore").read_text()
    for name in PATH.findall(text):
        assert (ROOT / name).exists() or f"/{name}" in made_at_run_time, f"{name} does not exist"
