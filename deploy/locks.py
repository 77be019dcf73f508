"""The locks requirements*.txt, which `make lock` makes from requirements*.in."""

import re
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


class Locked(NamedTuple):
    requirement: Requirement
    hashes: tuple[str, ...]  # SHA-256 of each file of this version, in hexadecimal

    @property
    def version(self) -> str:
        return str(self.requirement.specifier).removeprefix("==")

    @property
    def is_for_this_machine(self) -> bool:
        marker = self.requirement.marker
        return marker is None or marker.evaluate()


def read_lock(name: str) -> dict[str, Locked]:
    """The packages of a lock by their normalized name."""
    lines = re.sub(r"\\\n", " ", (ROOT / name).read_text()).splitlines()
    found = {}
    for line in lines:
        if line and not line.lstrip().startswith("#"):
            requirement, *hashes = re.split(r"\s+--hash=sha256:", line.strip())
            found[normalized(Requirement(requirement).name)] = Locked(Requirement(requirement), tuple(hashes))
    return found


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
