"""The environment of a command: that of the process, else that of a stack in the current folder."""

import os
import shlex
from pathlib import Path

# Each pair leads to one stack: halves of two stacks are never put together.
PAIRS = (("DATABASE_URL", "REDIS_URL"), ("ENERGY_API_URL", "ENERGY_API_KEY"))


def use_local_stack() -> None:
    """Set the addresses that `make up` wrote to .energy/env (ENERGY_HOME), where the environment has none."""
    file = Path(os.environ.get("ENERGY_HOME") or ".energy") / "env"
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return  # no stack was started here, or it is another user's
    written = dict(shlex.split(line)[0].split("=", 1) for line in lines)
    for pair in PAIRS:
        if not any(os.environ.get(name) for name in pair):
            os.environ.update((name, written[name]) for name in pair if written.get(name))
