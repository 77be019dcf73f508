"""What a figure returns: plain values, each with its unit, its goal and the samples it was made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Goal:
    """A bound on one side: `least` for what should be high, `most` for what should be low."""

    least: float | None = None
    most: float | None = None

    def is_met(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        return f"≥ {number(self.least)}" if self.least is not None else f"≤ {number(self.most)}"


@dataclass(frozen=True)
class Value:
    """`key` names it in the JSON file and for the ratios; a `value` of None was not measured, the note says why."""

    key: str
    label: str
    value: float | None
    unit: str
    goal: Goal | None = None
    samples: Sequence = field(default=(), repr=False)
    note: str = ""
    is_skipped: bool = False

    @property
    def is_met(self) -> bool | None:
        """None where there is no goal, or nothing was measured."""
        return self.goal.is_met(self.value) if self.goal and self.value is not None else None


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that at least so many percent of the samples do not exceed (nearest rank).

    Raises ValueError where there are no samples.
    """
    if not samples:
        raise ValueError("there are no samples")
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def median(samples: Sequence[float]) -> float:
    return percentile(samples, 50)


def number(value: float) -> str:
    """For people: 123,456 but 0.26 and 3.4."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
