"""The image holds what runs, nothing else, and no secret."""

import fnmatch
import re

from tests import ROOT
from tests.deploy.compose_file import copied_into_image, dockerfile


def test_image_holds_exactly_what_runs():
    assert sorted(source for source, _ in copied_into_image()) == [
        "alembic.ini",
        "celeryconfig.py",
        "deploy/energy",
        "deploy/health.py",
        "loadtool",
        "migrations",
        "models",
        "webapp",
        "workers",
    ]


def test_image_is_built_in_stages_from_one_python_that_the_project_supports():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    build, final = dockerfile()
    assert build[0][1] == final[0][1]
    version = tuple(map(int, re.fullmatch(r"python:(\d+)\.(\d+)-slim@sha256:.*", final[0][1]).groups()))
    minimum = re.fullmatch(r">=(\d+)\.(\d+)", project["requires-python"])
    assert version >= tuple(map(int, minimum.groups()))
    assert ["COPY", "--from=build", "/opt/venv", "/opt/venv"] in final


def test_image_has_no_development_tools_and_builds_nothing():
    build, final = dockerfile()
    assert [words[1] for words in build if words[0] == "COPY"] == ["requirements.txt"]
    assert not [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("-r")]
    words = " ".join(word for stage in (build, final) for line in stage for word in line)
    for tool in ("apt-get", "gcc", "requirements-dev", "requirements-embedded", "devstack"):
        assert tool not in words
    assert "--only-binary" in words


def test_image_runs_as_an_ordinary_user():
    final = dockerfile()[-1]
    names = [words[0] for words in final]
    user = final[names.index("USER")][1]
    assert int(user) >= 1000
    # Files copied before belong to root; nothing is copied or run afterwards.
    assert not {"RUN", "COPY", "ADD"} & set(names[names.index("USER") :])
    assert not [words for words in final if any(word.startswith("--chown") for word in words)]


def test_build_context_holds_what_is_copied_and_no_secret():
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]

    def ignored(path: str) -> bool:
        """As Docker does: the last rule that matches the path or a folder above it decides."""
        result = False
        for rule in rules:
            pattern = rule.removeprefix("!")
            above = ["/".join(path.split("/")[: n + 1]) for n in range(path.count("/") + 1)]
            anywhere = pattern.startswith("**/")
            tried = [part.rsplit("/", 1)[-1] if anywhere else part for part in above]
            if any(fnmatch.fnmatchcase(one, pattern.removeprefix("**/")) for one in tried):
                result = not rule.startswith("!")
        return result

    for secret in (".git/config", ".venv/bin/python", ".energy/env", ".env", "webapp/.env", "tests/conftest.py"):
        assert ignored(secret), secret
    assert ignored("models/__pycache__/x.pyc")
    for source in [*(source for source, _ in copied_into_image()), "requirements.txt"]:
        assert (ROOT / source).exists()
        assert not ignored(source)
    assert not ignored("webapp/__init__.py")
