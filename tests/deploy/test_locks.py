"""requirements*.txt hold everything that is installed, with hashes, and what requirements*.in ask for."""

import re
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from deploy.locks import normalized, read_lock
from tests import ROOT

LOCKS = ("requirements", "requirements-embedded", "requirements-dev")


def asked_for(name: str) -> list[Requirement]:
    """The lines of an input, with those of the inputs that it includes."""
    found = []
    for line in (ROOT / f"{name}.in").read_text().splitlines():
        if line.startswith("-r "):
            found += asked_for(line.removeprefix("-r ").removesuffix(".in"))
        elif line and not line.startswith("#"):
            found.append(Requirement(line))
    return found


def satisfies(version: str, requirement: Requirement) -> bool:
    return requirement.specifier.contains(version, prereleases=True)


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_one_version_and_hashes(name):
    lock = read_lock(f"{name}.txt")
    assert lock
    for each in lock.values():
        assert [specifier.operator for specifier in each.requirement.specifier] == ["=="]
        assert each.hashes, each.requirement
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in each.hashes)


@pytest.mark.parametrize("name", LOCKS)
def test_locks_name_no_registry(name):
    """A registry is the business of the machine that installs."""
    text = (ROOT / f"{name}.txt").read_text() + (ROOT / f"{name}.in").read_text()
    assert not re.findall(r"https?:|file:/|--(?:extra-)?index-url|--find-links|--trusted-host", text)


@pytest.mark.parametrize("name", LOCKS)
def test_locks_hold_what_the_inputs_ask_for(name):
    lock = read_lock(f"{name}.txt")
    for requirement in asked_for(name):
        locked = lock[normalized(requirement.name)]
        assert satisfies(locked.version, requirement), f"{requirement}, but {locked.version} is locked: make lock"


@pytest.mark.parametrize("name", LOCKS)
def test_locks_hold_everything_that_the_inputs_need_here(name):
    """Follows the metadata of what is installed. A package without a line in the lock would be refused by pip."""
    lock, waiting, seen = read_lock(f"{name}.txt"), asked_for(name), set()
    while waiting:
        requirement = waiting.pop()
        key = normalized(requirement.name)
        if (key, frozenset(requirement.extras)) in seen or not lock[key].is_for_this_machine:
            continue
        seen.add((key, frozenset(requirement.extras)))
        for text in metadata.requires(key) or []:
            needed = Requirement(text)
            if any(
                needed.marker is None or needed.marker.evaluate({"extra": extra}) for extra in {"", *requirement.extras}
            ):
                assert satisfies(lock[normalized(needed.name)].version, needed), f"{key} needs {needed}"
                waiting.append(needed)


def test_the_lock_of_development_holds_the_other_two():
    development = read_lock("requirements-dev.txt")
    for name in ("requirements", "requirements-embedded"):
        for package, locked in read_lock(f"{name}.txt").items():
            assert (development[package].version, development[package].hashes) == (locked.version, locked.hashes)


def test_every_installation_checks_hashes():
    for name in ("Makefile", "Dockerfile"):
        text = re.sub(r"\\\n", " ", (ROOT / name).read_text())
        installations = [
            line for line in text.splitlines() if re.search(r"\$\(PIP\)|pip .*\binstall\b", line) and ":=" not in line
        ]
        assert installations
        for line in installations:
            assert "--require-hashes" in line or "--no-deps --no-build-isolation --editable ." in line, line
