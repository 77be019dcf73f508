"""create_app makes a whole application, or ends the process."""

import subprocess
import sys

import pytest

from tests import ROOT
from tests.processes import environment_without_stack

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "command",
    [["-c", "import webapp; webapp.create_app()"], ["-m", "flask", "--app", "webapp", "routes"]],
    ids=["factory", "flask routes"],
)
def test_a_missing_setting_ends_the_process_and_is_named(command):
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment_without_stack(), capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "DATABASE_URL" in done.stderr
