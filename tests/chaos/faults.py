"""The type and the list of faults: each is a function that inflicts one and returns when it is over.

The devices continue meanwhile. The stack must recover afterwards by itself.
"""

import contextlib
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil

from tests.chaos.devices import Fleet
from tests.chaos.ledger import Ledger
from tests.chaos.stack import Stack


@dataclass
class Ground:
    """The argument of a fault. `is_long`: outages have their full length instead of a short form."""

    stack: Stack
    fleet: Fleet
    ledger: Ledger
    rng: random.Random
    is_long: bool = False


@dataclass(frozen=True)
class Fault:
    name: str
    inflict: Callable[[Ground], None]
    recovers_in: float  # seconds from the end of the fault to the usual lag; for a slow machine
    what: str


FAULTS: dict[str, Fault] = {}


def fault(recovers_in: float) -> Callable:
    def enlist(function: Callable[[Ground], None]) -> Callable[[Ground], None]:
        what = (function.__doc__ or "").strip().splitlines()[0]
        FAULTS[function.__name__] = Fault(function.__name__, function, recovers_in, what)
        return function

    return enlist


@contextlib.contextmanager
def frozen(processes: list[psutil.Process]) -> Iterator[None]:
    """Within the block the processes are suspended, parents first so that they do not start new ones."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


def kill(process: psutil.Process) -> None:
    """kill -9; nothing if the process has just ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def under_load(seconds: float) -> None:
    """Lets the devices continue for some seconds."""
    time.sleep(seconds)
