"""Types of the commands' arguments and options."""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from models.readings import DEVICE_ID, DEVICE_ID_RULE

MAX_DAYS = 36_500
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Moment(click.ParamType):
    """A date or a time, as an aware datetime; UTC without a zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not ISO 8601; write 2026-02-10 or 2026-02-10T10:30:00+01:00", param, ctx)


class FiniteRange(click.FloatRange):
    """A number within bounds. NaN is within any bounds of click's, and infinity within open ones."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        return number if math.isfinite(number) else self.fail(f"{value!r} is not a finite number", param, ctx)


class Duration(click.ParamType):
    """Such as 90d, 24h, 15m, 30s."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        parsed = re.fullmatch(r"(\d{1,9})([smhd])", value)
        span = timedelta(**{_UNITS[parsed[2]]: int(parsed[1])}) if parsed else None
        if span is None or span > timedelta(days=MAX_DAYS):
            self.fail(f"{value!r} is not a duration of up to {MAX_DAYS} days; write 90d, 24h, 15m or 30s", param, ctx)
        return span


class DeviceId(click.ParamType):
    """The id of a device, or its beginning."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return value if DEVICE_ID.match(value) else self.fail(f"{DEVICE_ID_RULE}.", param, ctx)
