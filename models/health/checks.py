"""A check: the verdict on one part of the engine, and what was found."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    GOOD = "good"
    WARNING = "warning"  # it works, at a cost that an operator should know
    WRONG = "wrong"
    UNKNOWN = "unknown"  # for a reason that another check names


@dataclass(frozen=True)
class Check:
    """`detail` is a sentence for people; `figures` are for programs, with their units in the names.

    `remedy` is that of the cause found; None: the usual one of the check (models/health/remedies.py).
    """

    verdict: Verdict
    detail: str
    figures: dict[str, int | float | str] = field(default_factory=dict)
    remedy: str | None = None

    @property
    def ok(self) -> bool | None:
        return {Verdict.WRONG: False, Verdict.UNKNOWN: None}.get(self.verdict, True)

    def with_remedy(self, remedy: str | None) -> "Check":
        return replace(self, remedy=remedy)

    def to_json(self) -> dict[str, Any]:
        return {"ok": self.ok, "detail": self.detail, "figures": self.figures}


def good(detail: str, **figures: int | float | str) -> Check:
    return Check(Verdict.GOOD, detail, figures)


def warning(detail: str, **figures: int | float | str) -> Check:
    return Check(Verdict.WARNING, detail, figures)


def wrong(detail: str, **figures: int | float | str) -> Check:
    return Check(Verdict.WRONG, detail, figures)


def unknown(detail: str) -> Check:
    return Check(Verdict.UNKNOWN, detail)


NO_POSTGRES = unknown("Unknown without Postgres")
NO_REDIS = unknown("Unknown without Redis")
NO_SCHEMA = unknown("Unknown without the schema")
