"""The argument of every figure: the stack, the length of the run, and a callback for progress."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.load.client import Plan
from bench.stack import Stack

if TYPE_CHECKING:
    from bench.figures.reading.day import Day


class Skipped(Exception):
    """This engine or this run does not have the figure; the message has the reason."""


@dataclass
class Bench:
    stack: Stack
    is_quick: bool
    show: Callable[[float, str], None]  # progress in [0, 1], and a text
    day: "Day | None" = None  # see figures/reading/day.py; None until it is loaded

    def seconds(self, full: float, quick: float) -> float:
        """The length of a load."""
        return quick if self.is_quick else full

    def plan(self, source: str, connections: int, **options) -> Plan:
        return Plan(self.stack.port, self.stack.key, source, connections, **options)
