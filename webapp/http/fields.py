"""The fields that requests share: numbers, times, ids, pages and windows. The OpenAPI document is made from them."""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import msgspec
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate, validates_schema

DEVICE_ID = re.compile(r"^[A-Za-z0-9._:-]{1,64}\Z")
DEVICE_ID_RULE = "Must be 1–64 characters of A–Z a–z 0–9 . _ : -"
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
# A bare plus sign in a query string arrives as a space.
_LOST_PLUS = re.compile(r" (\d\d:?\d\d)\Z")


class Number(fields.Float):
    """A JSON number that is finite: no strings, no booleans, no NaN."""

    default_error_messages: ClassVar = {"invalid": "Must be a JSON number.", "special": "Must be a finite number."}

    def _deserialize(self, value, attr, data, **kwargs) -> float:
        if type(value) not in (int, float):
            raise self.make_error("invalid")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.make_error("special")
        return number


class Timestamp(fields.Field):
    """ISO 8601 with a zone, as an aware UTC datetime."""

    default_error_messages: ClassVar = {"invalid": "Must be ISO 8601 with a zone, such as 2026-02-10T10:30:00Z."}

    def _deserialize(self, value, attr, data, **kwargs) -> datetime:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        moment = _parse(value)
        if moment is None or moment.utcoffset() is None:
            raise self.make_error("invalid")
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            raise self.make_error("invalid") from None


class QueryTimestamp(Timestamp):
    """A time in a query string."""

    def _deserialize(self, value, attr, data, **kwargs) -> datetime:
        return super()._deserialize(_LOST_PLUS.sub(r"+\1", value), attr, data, **kwargs)


def _parse(text: str) -> datetime | None:
    # The decoder's own reading of RFC 3339 first, so that both engines see the same microsecond.
    try:
        return msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        pass
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def device_id(**options) -> fields.String:
    return fields.String(validate=validate.Regexp(DEVICE_ID, error=DEVICE_ID_RULE + "."), **options)


class QuerySchema(Schema):
    class Meta:
        unknown = EXCLUDE


class PageSchema(QuerySchema):
    limit = fields.Integer(load_default=100, validate=validate.Range(1, 1000), metadata={"description": "items a page"})
    cursor = fields.String(
        load_default=None, validate=validate.Length(1, 512), metadata={"description": "`next` of the page before"}
    )


class WindowSchema(QuerySchema):
    """A window [from, to)."""

    start = QueryTimestamp(data_key="from", load_default=None, metadata={"example": "2026-02-09T10:30:00Z"})
    end = QueryTimestamp(data_key="to", load_default=None, metadata={"example": "2026-02-10T10:30:00Z"})

    @validates_schema
    def _in_order(self, data, **_) -> None:
        if data["start"] and data["end"] and data["start"] >= data["end"]:
            raise ValidationError("Must be after `from`.", "to")


class AnalyticsWindowSchema(WindowSchema):
    """A window of at most 31 days; left out, the last 24 hours."""

    MAX_WINDOW = timedelta(days=31)
    DEFAULT_WINDOW = timedelta(hours=24)

    @validates_schema(skip_on_field_errors=True)
    def _not_too_long(self, data, **_) -> None:
        start, end = self.bounds(data)
        if end <= start:
            raise ValidationError("Must be in the past.", "from")
        if end - start > self.MAX_WINDOW:
            raise ValidationError(f"The window may be at most {self.MAX_WINDOW.days} days long.", "from")

    def bounds(self, data: dict) -> tuple[datetime, datetime]:
        try:
            end = data["end"] or datetime.now(UTC)
            return data["start"] or end - self.DEFAULT_WINDOW, end
        except OverflowError:
            raise ValidationError("Must be a time of this era.", "to") from None
