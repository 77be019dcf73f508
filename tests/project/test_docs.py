"""The documents agree with the code, and their links lead somewhere."""

import re
import subprocess
from pathlib import Path

import pytest

from deploy import settings_page
from tests.conftest import ROOT


def test_the_settings_page_is_made_from_the_declarations():
    assert (ROOT / "docs/settings.md").read_text() == settings_page.page(), "run: make docs"


def test_variables_that_the_page_adds_are_read_somewhere():
    code = "".join(
        path.read_text() for room in ("webapp", "models", "loadtool") for path in (ROOT / room).rglob("*.py")
    )
    added = re.findall(r"^\| `([A-Z_]+)` \|", settings_page.OTHERS, re.MULTILINE)
    assert len(added) == 3
    for name in added:
        assert f'"{name}"' in code


def documents() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
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
