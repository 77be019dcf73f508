"""The first example of the README works when pasted."""

import re
import subprocess

import pytest

from tests import ROOT
from tests.processes import free_port, running, wait_until_live

pytestmark = pytest.mark.slow

BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
(EXAMPLE,) = [block for block in BLOCKS if "/v1/telemetry" in block]
WEB = ["granian", "--interface", "wsgi", "--factory", "--blocking-threads", "4", "webapp:create_app", "--port"]


def test_the_example_answers_as_printed(resources, drain_all, tmp_path):
    port = free_port()
    with running(tmp_path, "web", [*WEB, str(port)]):
        wait_until_live(port)
        script = EXAMPLE.replace(":8000", f":{port}")
        with subprocess.Popen(["bash", "-e", "-c", script], stdout=subprocess.PIPE, text=True) as pasted:
            while pasted.poll() is None:
                drain_all()
            answers = pasted.stdout.read().splitlines()
    assert pasted.returncode == 0
    printed = re.findall(r"^# (.*)", EXAMPLE, re.MULTILINE)
    assert len(answers) == 3
    for expected, answer in zip(printed, [answers[0], answers[2]], strict=True):
        for part in re.sub(r'"1-\d+-0"', "", expected).split(" …"):
            assert part.strip(", }") in answer
