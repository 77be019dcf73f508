import json
import os
import subprocess
import sys

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy.locks import read_lock
from tests import ROOT


def written(seed: str) -> str:
    """Python's hashes differ with the seed: an order that depends on them would show."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy.sbom"],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def sbom() -> str:
    return written("1")


def test_it_follows_the_schema(sbom):
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom) is None


def test_it_is_the_same_each_time(sbom):
    assert written("2") == sbom


def test_it_lists_what_the_service_installs_with_versions_hashes_and_licences(sbom):
    components = {each["name"]: each for each in json.loads(sbom)["components"]}
    lock = {name: each for name, each in read_lock("requirements.txt").items() if each.is_for_this_machine}
    assert {name: each["version"] for name, each in components.items()} == {
        name: each.version for name, each in lock.items()
    }
    for name, each in components.items():
        (files,) = each["externalReferences"]
        assert {digest["content"] for digest in files["hashes"]} == set(lock[name].hashes)
        assert each["licenses"], name
