import os
import subprocess
import sys

import pytest

from tests import ROOT
from tests.processes import free_port, wait_until_live


@pytest.fixture(scope="module")
def port(servers):
    """A granian with one worker, as `make up` runs it."""
    port = free_port()
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--factory", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--blocking-threads", "8", "--workers-kill-timeout", "5", "webapp:create_app"],
        cwd=ROOT,
        env=os.environ,
    )
    wait_until_live(port)
    yield port
    process.terminate()
    assert process.wait(15) == 0
