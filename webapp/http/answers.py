"""What answers are made of: typed objects, the quantities in their fields, and one rounding for each quantity.

The description, unit, bounds and examples of a field stand on it; /openapi.json shows them. A field may describe a
quantity more closely: `Annotated[Kwh, Meta(description="kWh that reached the battery")]`.
"""

from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from flask import Response
from msgspec import Meta, Struct, field

from models.readings import DEVICE_ID

T = TypeVar("T", float, float | None)


class JsonObject(Struct, rename="camel", forbid_unknown_fields=True):
    """Base of every object in an answer. Its docstring describes it to clients."""


NextCursor = Annotated[str | None, Meta(description="the `cursor` of the next page; null: this is the last")]


class Page(JsonObject):
    """Base of the pages of a list. A subclass says what its `items` are."""

    items: list[Any]
    next: NextCursor


Time = Annotated[datetime, Meta(tz=True, examples=["2026-02-10T10:30:00Z"])]
MeterId = Annotated[str, Meta(pattern=DEVICE_ID.pattern, examples=["M001"])]
VehicleId = Annotated[str, Meta(pattern=DEVICE_ID.pattern, examples=["V001"])]
SerialId = Annotated[int, Meta(ge=1, le=2**63 - 1, examples=[1])]  # a bigint of Postgres
Count = Annotated[int, Meta(ge=0)]
Kwh = Annotated[float, Meta(description="kWh")]
Ratio = Annotated[float | None, Meta(description="DC/AC; null: no AC energy was measured")]
Share = Annotated[float, Meta(ge=0, le=1)]
Celsius = Annotated[float | None, Meta(description="°C; null: no reading in the window")]
Money = Annotated[float, Meta(description="money, to the cent")]


def json_response(value: JsonObject, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, mimetype="application/json")


def camel_case(name: str) -> str:
    """A name of Python as JSON has it."""
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


class Window(JsonObject):
    """[from, to)"""

    start: Time = field(name="from")
    end: Time = field(name="to")


class Rounding:
    """Rounds to a number of digits after the decimal point; None stays None, and -0.0 becomes 0.0."""

    def __init__(self, digits: int):
        self._digits = digits

    def __call__(self, value: T) -> T:
        return None if value is None else round(value, self._digits) + 0.0


round_kwh = Rounding(6)
round_ratio = Rounding(4)  # efficiency, completeness
round_percent = Rounding(2)
round_celsius = Rounding(2)
round_volts = Rounding(2)
round_seconds = Rounding(3)
