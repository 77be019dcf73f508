"""The values that figures return, with unit, goal and samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Goal:
    """A lower bound (`least`) or an upper bound (`most`)."""

    least: float | None = None
    most: float | None = None

    def is_met(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        return f"≥ {number(self.least)}" if self.least is not None else f"≤ {number(self.most)}"


@dataclass(frozen=True)
class Value:
    """`key` names it in JSON and in ratios. `value` is None if it was not measured; `note` has the reason."""

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
        """None without a goal or a value."""
        return self.goal.is_met(self.value) if self.goal and self.value is not None else None


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that at least `percent` of the samples do not exceed (nearest rank).

    Raises ValueError without samples.
    """
    if not samples:
        raise ValueError("there are no samples")
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def median(samples: Sequence[float]) -> float:
    return percentile(samples, 50)


def number(value: float) -> str:
    """As text: 123,456 but 0.26 and 3.4."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
