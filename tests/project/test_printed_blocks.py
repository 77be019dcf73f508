"""Every block of commands in the documents works as printed, pasted in order into a shell beside `make up`."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from devstack import server
from tests import ROOT
from tests.devstack.stack import Stack, environment, eventually, started

pytestmark = pytest.mark.slow

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# The blocks that are not pasted here: the first words of a line in each, and why.
NOT_PASTED = {
    "make up ": "this is the stack beside which the blocks are pasted; `make test` is this suite",
    "make lint ": "the first step of .ci/run, which goes on with `make test`",
    "make bench ": "takes 25 minutes; tests/project/test_bench.py runs parts of it",
    "docker compose ": "needs a container engine; tests/deploy run the commands of the compose file",
    "docker buildx ": "needs a container engine",
}


class Block(NamedTuple):
    page: str
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(page.name, language, text) for language, text in found]


def is_pasted(block: Block) -> bool:
    return block.language in ("sh", "python") and not any(words in block.text for words in NOT_PASTED)


ALL = [block for page in PAGES for block in blocks(page)]


@pytest.fixture(scope="module")
def stack() -> Iterator[tuple[Stack, Path]]:
    """The stack and a folder that looks like a checkout in which it runs."""
    with tempfile.TemporaryDirectory(prefix="energy-") as folder:
        checkout = Path(folder)
        checkout.chmod(0o755)
        home, port = checkout / ".energy", server.free_port("127.0.0.1", 0)
        for name in (home, home / "log", home / "run", checkout / ".venv/bin"):
            name.mkdir(parents=True)
        (checkout / ".venv/bin/activate").write_text(f"PATH='{Path(sys.executable).parent}':$PATH\n")
        with started(home, port, SIMULATE="5") as running:
            eventually(lambda: running.status("/v1/vehicles/SIM-V001") == 200)
            yield running, checkout
            assert running.stop() == 0


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(map(is_pasted, blocks(page)))], ids=lambda page: page.name
)
def test_the_blocks_of_a_page_work_when_pasted(page: Path, stack: tuple[Stack, Path]):
    running, checkout = stack
    port = running.url.rsplit(":", 1)[1]
    script = ["set -e", ". .venv/bin/activate"]
    for block in filter(is_pasted, blocks(page)):
        text = block.text.replace(":8000", f":{port}")
        script.append(text if block.language == "sh" else f"python - <<'BLOCK'\n{text}BLOCK")
    pasted = subprocess.run(
        ["bash", "-o", "pipefail", "-c", "\n".join(script)],
        cwd=checkout,
        env=environment(checkout / ".energy", PYTHONPATH=str(ROOT)) | {"HOME": os.environ.get("HOME", "/")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert pasted.returncode == 0, f"{pasted.stdout}\n{pasted.stderr}"
    assert '"error"' not in pasted.stdout, pasted.stdout  # curl ends with 0 when the engine refuses a request


def test_every_exception_is_still_needed():
    for words, reason in NOT_PASTED.items():
        assert any(words in block.text for block in ALL), f"no block has {words!r} ({reason})"


def test_a_block_without_a_language_holds_no_command():
    for block in ALL:
        assert block.language or not re.search(r"^\$? ?(energy|curl|make|docker) ", block.text, re.MULTILINE), block
