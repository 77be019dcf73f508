"""What a figure is given: the stack, how long it may take, and a way to say how far it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.load.client import Plan
from bench.stack import Stack

if TYPE_CHECKING:
    from bench.figures.reading.day import Day


class Skipped(Exception):
    """A figure that this engine, or this run, does not have; the message says why."""


@dataclass
class Bench:
    stack: Stack
    is_quick: bool
    show: Callable[[float, str], None]  # the share that is done, in [0, 1], and what is being done
    day: "Day | None" = None  # the rows of bench/figures/reading/day.py, once they are there

    def seconds(self, full: float, quick: float) -> float:
        """How long a load lasts."""
        return quick if self.is_quick else full

    def plan(self, source: str, connections: int, **options) -> Plan:
        return Plan(self.stack.port, self.stack.key, source, connections, **options)
