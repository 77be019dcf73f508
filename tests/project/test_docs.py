"""The documents and the code say the same."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from environs import Env

import devstack.settings
import models.settings
from tests import ROOT

SETTINGS = (ROOT / "docs/settings.md").read_text()
ENGINE, STACK = SETTINGS.split("## `make up`")
# Read elsewhere than in models/settings.py: by prometheus_client, and by the commands.
READ_ELSEWHERE = {"PROMETHEUS_MULTIPROC_DIR", "ENERGY_API_URL", "ENERGY_API_KEY"}
# `ENERGY_HOME=` means the default too.
SAID_IN_WORDS = {"": "not set", None: "required", "$REDIS_URL": "as `REDIS_URL`"}


def documented(text: str) -> dict[str, str]:
    """Variable to default, out of the tables."""
    return dict(re.findall(r"^\| `([A-Z_]+)` \| (.+?) \|", text, re.MULTILINE))


def read_by(load, module, monkeypatch) -> dict[str, Any]:
    """Variable to default, as the loader asks for them: it is run, in an environment without any of them."""
    asked = {}

    class RecordingEnv(Env):
        def __getattribute__(self, name):
            found = super().__getattribute__(name)
            if name not in ("str", "int", "float", "bool"):
                return found

            def parse(variable, default=None, **options):
                asked[variable] = default
                monkeypatch.delenv(variable, raising=False)
                # What is required stands for itself, to be known where it is another's default.
                return f"${variable}" if options.pop("required", False) else found(variable, default, **options)

            return parse

    for namespace in (module, getattr(module, "environs", None)):
        if hasattr(namespace, "Env"):
            monkeypatch.setattr(namespace, "Env", RecordingEnv)
    load()
    return asked


def shown(default: Any) -> str:
    return SAID_IN_WORDS.get(default) or f"`{default}`"


def test_every_setting_of_the_engine_is_documented_with_its_default(monkeypatch):
    asked = read_by(models.settings.load_settings, models.settings, monkeypatch)
    assert len(asked) > 20
    told = {name: default for name, default in documented(ENGINE).items() if name not in READ_ELSEWHERE}
    assert told == {name: shown(default) for name, default in asked.items()}


def test_every_setting_of_make_up_is_documented_with_its_default(monkeypatch):
    asked = read_by(devstack.settings.read, devstack.settings, monkeypatch)
    home = devstack.settings.read().home.relative_to(Path.cwd())
    assert documented(STACK) == {name: shown(default) for name, default in asked.items()} | {"ENERGY_HOME": f"`{home}`"}


def test_what_is_read_elsewhere_is_read():
    code = "".join(
        path.read_text() for folder in ("webapp", "models", "loadtool") for path in (ROOT / folder).rglob("*.py")
    )
    assert documented(ENGINE).keys() >= READ_ELSEWHERE
    for name in READ_ELSEWHERE:
        assert f'"{name}"' in code


@pytest.mark.parametrize("text", [ENGINE, STACK], ids=["engine", "make up"])
def test_no_setting_is_listed_twice(text):
    listed = re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE)
    assert len(listed) == len(set(listed))


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
