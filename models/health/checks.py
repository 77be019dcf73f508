"""What a look at the engine amounts to: a check for each thing, with its verdict and what was found."""

from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    GOOD = "good"
    WARNING = "warning"  # it works, at a cost that should be known
    WRONG = "wrong"
    UNKNOWN = "unknown"  # can't be told, for a reason that another check names


@dataclass(frozen=True)
class Check:
    """`detail` is for a person; `figures` are for a program, their units in their names."""

    verdict: Verdict
    detail: str
    figures: dict[str, int | float | str] = field(default_factory=dict)

    @property
    def ok(self) -> bool | None:
        return {Verdict.WRONG: False, Verdict.UNKNOWN: None}.get(self.verdict, True)

    def shown(self) -> dict:
        return {"ok": self.ok, "detail": self.detail, "figures": self.figures}


def good(detail: str, **figures) -> Check:
    return Check(Verdict.GOOD, detail, figures)


def warning(detail: str, **figures) -> Check:
    return Check(Verdict.WARNING, detail, figures)


def wrong(detail: str, **figures) -> Check:
    return Check(Verdict.WRONG, detail, figures)


def unknown(detail: str) -> Check:
    return Check(Verdict.UNKNOWN, detail)
