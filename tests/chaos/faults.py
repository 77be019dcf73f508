"""What a fault is given, and the list of all faults: each a function that returns when the fault is over.

While a fault is on, the devices go on. What comes after it, the recovery, is nobody's work but the stack's.
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
    """`is_long`: outages may take as long as the name of the fault says, not a short form of it."""

    stack: Stack
    fleet: Fleet
    ledger: Ledger
    rng: random.Random
    is_long: bool = False


@dataclass(frozen=True)
class Fault:
    name: str
    inflict: Callable[[Ground], None]
    recovers_in: float  # seconds from the end of the fault to the usual lag; generous, for a slow machine
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
    """Inside, the processes stand still, the parents first: so that they do not start new ones."""
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
    """kill -9, which a process that just ended by itself is spared."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def under_load(seconds: float) -> None:
    """The devices go on for so long: this much is meant to happen, it is no waiting for something."""
    time.sleep(seconds)
