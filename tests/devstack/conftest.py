import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def home() -> Iterator[Path]:
    # Not in pytest's folder: Postgres, which runs as another user if the tests run as root, cannot enter it.
    with tempfile.TemporaryDirectory(prefix="energy-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        for name in ("log", "run"):
            (home / name).mkdir()
        yield home
