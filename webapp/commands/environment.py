"""The environment of a command: that of the process, else that of a stack in the current folder."""

import os
import shlex
from pathlib import Path

# Each pair leads to one stack: halves of two stacks are never put together.
PAIRS = (("DATABASE_URL", "REDIS_URL"), ("ENERGY_API_URL", "ENERGY_API_KEY"))

# A command may log otherwise than the stack.
OF_A_PROCESS = ("LOG_FORMAT", "LOG_LEVEL", "LOG_REQUESTS")


def use_local_stack() -> None:
    """Set the addresses that `make up` wrote to .energy/env (ENERGY_HOME), where the environment has none.

    With the addresses of that stack, from wherever, its settings count, not those of this shell: a command judges and
    reads what the engine does with them.
    """
    home = Path(os.environ.get("ENERGY_HOME") or ".energy")
    addresses = _read(home / "env")
    for pair in PAIRS:
        if not any(os.environ.get(name) for name in pair):
            os.environ.update((name, addresses[name]) for name in pair if addresses.get(name))
    if addresses and all(os.environ.get(name) == addresses.get(name) for name in PAIRS[0]):
        os.environ.update((name, value) for name, value in _read(home / "settings").items() if name not in OF_A_PROCESS)


def _read(file: Path) -> dict[str, str]:
    try:
        return dict(shlex.split(line)[0].split("=", 1) for line in file.read_text().splitlines())
    except OSError:
        return {}  # no stack was started here, or it is another user's
