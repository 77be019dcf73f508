import os
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from devstack import programs
from tests import ROOT
from tests.processes import free_port, wait_until_live


@contextmanager
def granian(flags: dict[str, str], **environment):
    port = free_port()
    command = programs.granian(SimpleNamespace(host="127.0.0.1", port=port, web_workers=1))
    for name, value in flags.items():
        command[command.index(name) + 1] = value
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "webapp:create_app"], cwd=ROOT, env=os.environ | environment
    )
    try:
        wait_until_live(port)
        yield port
    finally:
        process.terminate()
        process.wait(15)


@pytest.fixture(scope="module")
def port(servers):
    """granian with the flags of `make up`, a header timeout of one second, and required keys."""
    with granian({"--http1-header-read-timeout": "1000"}, AUTH="required") as port:
        yield port
