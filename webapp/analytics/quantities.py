"""Quantities that several answers of the analytics have."""

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from models.analytics.energy.efficiency import STATUSES
from webapp.http.answers import Count


def one_of(names: Iterable[str], description: str | None = None) -> Meta:
    """Of a field with one of these texts."""
    return Meta(description=description, extra_json_schema={"enum": list(names)})


Status = Annotated[
    str,
    one_of(
        STATUSES,
        "`degraded`: the ratio is below {alert_threshold} %; `implausible`: it is above 100 %, so a mapping is missing "
        "or a register is set wrongly; `unknown`: it is null",
    ),
]
Implausible = Annotated[
    Count, Meta(description="readings that claim more energy than their device's `ratedPowerKw` allows; they count 0")
]
OwnImplausible = Annotated[
    Count,
    Meta(
        description="readings of the vehicles that claim more energy than their `ratedPowerKw` allows; they count 0. "
        "`performance` of one vehicle counts those of its meters too"
    ),
]
Shared = Annotated[
    bool,
    Meta(
        description="a meter fed other vehicles at the same time: its energy is divided, in each hour, by the DC "
        "energy that each of them took"
    ),
]
