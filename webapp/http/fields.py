"""The fields that requests share: numbers, times, ids, pages and windows; and what an unknown name may mean.

The OpenAPI document is made from the fields.
"""

import math
import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from itertools import islice
from typing import Any, ClassVar

import msgspec
from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_load, pre_load, validate, validates_schema

from models.readings import DEVICE_ID, DEVICE_ID_RULE
from webapp.http.clock import request_time

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
DEFAULT_WINDOW = timedelta(hours=24)
_IN_A_QUERY = (
    "ISO 8601 with a zone, such as `2026-02-10T10:30:00Z`; write `+` as `%2B`, though one lost to a space is put back."
)
# A bare plus sign in a query string arrives as a space.
_LOST_PLUS = re.compile(r" (\d\d:?\d\d)\Z")


class Number(fields.Float):
    """A finite JSON number: no strings, no booleans, no NaN."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if type(value) not in (int, float):
            raise ValidationError("Must be a JSON number.")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ValidationError("Must be a finite number.")
        return number


class WholeNumber(fields.Integer):
    """A JSON number without a fraction, 60 or 60.0: no strings, no booleans."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if type(value) not in (int, float) or value != value // 1:
            raise self.make_error("invalid")
        return int(value)


class Text(fields.String):
    """Text that Postgres can store: NUL and lone surrogates, which JSON has, are replaced."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        return text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


class Timestamp(fields.Field[datetime]):
    """ISO 8601 with a zone, as an aware UTC datetime."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        moment = _parse(value) if isinstance(value, str) else None
        if moment is None:
            raise ValidationError("Must be ISO 8601 with a zone, such as 2026-02-10T10:30:00Z.")
        return moment


class QueryTimestamp(Timestamp):
    """A time in a query string."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        return super()._deserialize(_LOST_PLUS.sub(r"+\1", value), attr, data, **kwargs)


def _parse(text: str) -> datetime | None:
    """The time in UTC; None if the text is none, has no zone, or lies outside of the calendar."""
    try:
        # msgspec first, as in the fast decoder (webapp/ingest/fast_decoding.py): both find the same microsecond.
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
    try:
        return moment.astimezone(UTC) if moment.tzinfo else None
    except OverflowError:
        return None


def device_id(**options: Any) -> fields.String:
    return fields.String(validate=validate.Regexp(DEVICE_ID, error=DEVICE_ID_RULE + "."), **options)


class QuerySchema(Schema):
    """A query string. A field that is a List takes its parameter repeatedly."""

    class Meta:
        unknown = EXCLUDE

    @pre_load
    def _collect_lists(self, data: Any, **_: Any) -> Any:
        lists = [field.data_key or name for name, field in self.fields.items() if isinstance(field, fields.List)]
        return {**data, **{name: data.getlist(name) for name in lists}} if lists else data


class PageSchema(QuerySchema):
    limit = fields.Integer(load_default=100, validate=validate.Range(1, 1000), metadata={"description": "items a page"})
    cursor = fields.String(
        load_default=None, validate=validate.Length(1, 512), metadata={"description": "`next` of the page before"}
    )


class DevicePageSchema(PageSchema):
    """A page of devices, or of what belongs to one device each."""

    site = device_id(
        load_default=None, metadata={"description": "only if the device has exactly this site in its settings"}
    )
    search = device_id(
        load_default=None, metadata={"description": "only if the device has this in its id, in any letter case"}
    )


def _bound(key: str, description: str, example: str) -> QueryTimestamp:
    return QueryTimestamp(
        data_key=key,
        load_default=None,
        metadata={"description": f"{description} {_IN_A_QUERY}", "example": example},
    )


class WindowSchema(QuerySchema):
    """A window [from, to), each side of which may be left open."""

    start = _bound("from", "Start, included.", "2026-02-09T10:30:00Z")
    end = _bound("to", "End, not included.", "2026-02-10T10:30:00Z")

    @validates_schema
    def _in_order(self, data: dict[str, Any], **_: Any) -> None:
        if data["start"] and data["end"] and data["start"] >= data["end"]:
            raise ValidationError("Must be after `from`.", "to")


def close_window(start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    """The sides of a window, with the default of each that is None. Raises ValidationError."""
    end = end or request_time()
    try:
        return start or end - DEFAULT_WINDOW, end
    except OverflowError:
        raise ValidationError("Must be a time of this era.", "to") from None


class ClosedWindowSchema(WindowSchema):
    """A window [from, to) of any length; both are in what it loads. Left out: the 24 hours before `to`, and now."""

    MAX_WINDOW: ClassVar[timedelta | None] = None

    start = _bound("from", "Start, included. Left out: 24 hours before `to`.", "2026-02-09T10:30:00Z")
    end = _bound("to", "End, not included. Left out: now.", "2026-02-10T10:30:00Z")

    @post_load
    def _close(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        start, end = close_window(data["start"], data["end"])
        if end <= start:
            raise ValidationError("Must be in the past.", "from")
        if self.MAX_WINDOW and end - start > self.MAX_WINDOW:
            raise ValidationError(f"The window may be at most {self.MAX_WINDOW.days} days long.", "from")
        return {**data, "start": start, "end": end}


class AnalyticsWindowSchema(ClosedWindowSchema):
    """A window of at most 31 days."""

    MAX_WINDOW = timedelta(days=31)

    end = _bound("to", "End, not included; at most 31 days after `from`. Left out: now.", "2026-02-10T10:30:00Z")


# ── Unknown names ────────────────────────────────────────────────────────────────────────────────────────────

MAX_NAMES = 10  # of one request that an answer names
MAX_CHARACTERS = 64  # of each
_ALIKE = 0.75  # similarity from which a name is a suggestion: `form` and `from` have it


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `name`, whatever their letter case and punctuation; None: none is like it."""
    by_letters = {_letters(each): each for each in known}
    found = get_close_matches(_letters(name[:MAX_CHARACTERS]), by_letters, 1, _ALIKE)
    return by_letters[found[0]] if found else None


def list_unknown(names: Iterable[str], known: Collection[str]) -> list[str]:
    """The first names that are not among the known ones, each once, shortened and fit for JSON."""
    distinct = dict.fromkeys(name for name in names if name not in known)
    return [name[:MAX_CHARACTERS].encode(errors="replace").decode() for name in islice(distinct, MAX_NAMES)]


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))
