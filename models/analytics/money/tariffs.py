"""Tariffs: the price of a kWh at a site, by the clock and the weekday of its time zone.

A tariff has a base price, and periods with prices of their own; of several periods that hold a time, the first sets
the price. A period whose end is not after its start passes midnight and belongs to the day on which it begins: `fri`
from 22:00 to 06:00 ends on Saturday morning. Times are local: an hour that the clock repeats has the same price both
times, and one that it skips never occurs.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import psycopg
import structlog
from msgspec import Meta
from psycopg.rows import args_row, scalar_row
from sqlalchemy import ARRAY, Text, any_, bindparam, cast, delete, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert

from models.analytics.energy.buckets import next_stop
from models.schema.tariffs import tariffs
from models.sql import one
from models.statements import Statement, run

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MIDNIGHT = timedelta()

log = structlog.get_logger()

Day = Annotated[str, Meta(pattern=f"^({'|'.join(DAYS)})$")]
TimeOfDay = Annotated[str, Meta(pattern="^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]


class Period(msgspec.Struct, frozen=True, rename={"begins": "from", "ends": "to", "price": "pricePerKwh"}):
    """Some days of the week, from `begins` to before `ends`, both HH:MM; `ends` may be 24:00."""

    days: tuple[Day, ...]
    begins: TimeOfDay
    ends: TimeOfDay
    price: Decimal

    def holds(self, local: datetime) -> bool:
        """Whether it contains a naive local time."""
        begins, ends = _time_of_day(self.begins), _time_of_day(self.ends)
        time = local - local.replace(hour=0, minute=0, second=0, microsecond=0)
        today, yesterday = DAYS[local.weekday()], DAYS[local.weekday() - 1]
        if begins < ends:
            return today in self.days and begins <= time < ends
        return (today in self.days and time >= begins) or (yesterday in self.days and time < ends)


class Tariff(msgspec.Struct, frozen=True):
    """Prices are money a kWh, exact; `timezone` is an IANA name."""

    site: str
    currency: str
    timezone: str
    price: Decimal
    periods: tuple[Period, ...] = ()

    def price_at(self, moment: datetime) -> Decimal:
        local = moment.astimezone(ZoneInfo(self.timezone)).replace(tzinfo=None)
        return next((period.price for period in self.periods if period.holds(local)), self.price)


class Band(NamedTuple):
    """A kWh costs `price` from `starts` (UTC) on, until the next band."""

    starts: datetime
    price: Decimal


def price_bands(tariff: Tariff, start: datetime, end: datetime) -> list[Band]:
    """The prices in [start, end), ascending; the first band starts at `start`, and neighbours differ in price."""
    zone = ZoneInfo(tariff.timezone)
    times = {_time_of_day(text) for period in tariff.periods for text in (period.begins, period.ends)}
    stops = sorted((times | {_MIDNIGHT}) - {timedelta(days=1)})
    bands = [Band(start, tariff.price_at(start))]
    if not tariff.periods:
        return bands
    moment = start
    while (moment := next_stop(moment, stops, zone)) < end:
        if (price := tariff.price_at(moment)) != bands[-1].price:
            bands.append(Band(moment, price))
    return bands


def _time_of_day(text: str) -> timedelta:
    hours, minutes = text.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


# ── Stored, by site ──────────────────────────────────────────────────────────────────────────────────────────

# Prices as JSON numbers with every digit: Postgres keeps them as numeric, and they are never floats here.
_encode = msgspec.json.Encoder(decimal_format="number").encode
_decode = msgspec.json.Decoder(tuple[Period, ...]).decode

_KEY = tariffs.c.site
_SELECT = select(
    _KEY,
    tariffs.c.currency,
    tariffs.c.timezone,
    tariffs.c.price_per_kwh.label("price"),
    cast(tariffs.c.periods, Text).label("periods"),
).order_by(_KEY)
_GET = Statement(_SELECT.where(any_(bindparam("sites", type_=ARRAY(Text))) == _KEY))
_LIST = Statement(_SELECT.where(bindparam("after") < _KEY).limit(bindparam("limit")))
_DELETE = Statement(delete(tariffs).where(bindparam("site") == _KEY))
_GIVEN = ("currency", "timezone", "price_per_kwh", "periods")
_INSERT = insert(tariffs).values({name: bindparam(name) for name in ("site", *_GIVEN)})
_SET = Statement(
    _INSERT.on_conflict_do_update(
        index_elements=[_KEY],
        set_={"updated_at": func.now()} | {name: _INSERT.excluded[name] for name in _GIVEN},
    ).returning(literal_column("xmax = 0"))
)


class UnreadableTariff(NamedTuple):
    """A row of tariffs that is no tariff: its site counts as one without. A tariff that is set replaces it."""

    site: str
    reason: str


def set_tariff(connection: psycopg.Connection, tariff: Tariff) -> bool:
    """Sets the whole tariff of its site, also for energy of the past; returns whether the site had none."""
    values = {
        "site": tariff.site,
        "currency": tariff.currency,
        "timezone": tariff.timezone,
        "price_per_kwh": tariff.price,
        "periods": _encode(tariff.periods).decode(),
    }
    return one(run(connection, _SET, values, row=scalar_row))


def delete_tariff(connection: psycopg.Connection, site: str) -> bool:
    """Returns whether the site had one. By primary key."""
    return run(connection, _DELETE, {"site": site}).rowcount == 1


def get_tariffs(connection: psycopg.Connection, sites: Iterable[str]) -> dict[str, Tariff]:
    """The tariffs of the sites that have one, by site; an unreadable one is logged and left out. By primary key."""
    found = run(connection, _GET, {"sites": list(sites)}, row=_ROW).fetchall()
    return {tariff.site: tariff for tariff in _readable(found)}


def list_tariffs(connection: psycopg.Connection, *, after: str, limit: int) -> list[Tariff]:
    """Tariffs in the order of their sites, those after `after`; unreadable ones are left out. By primary key."""
    listed: list[Tariff] = []
    while limit > len(listed):
        wanted = limit - len(listed)
        found = run(connection, _LIST, {"after": after, "limit": wanted}, row=_ROW).fetchall()
        listed += _readable(found)
        if len(found) < wanted:
            break
        after = found[-1].site
    return listed


def list_unreadable_tariffs(connection: psycopg.Connection) -> list[UnreadableTariff]:
    """Those that cost nothing until they are set again."""
    found = run(connection, _SELECT, row=_ROW).fetchall()
    return [tariff for tariff in found if isinstance(tariff, UnreadableTariff)]


def _readable(found: Iterable[Tariff | UnreadableTariff]) -> Iterator[Tariff]:
    for tariff in found:
        if isinstance(tariff, Tariff):
            yield tariff
        else:
            log.error("tariff_unreadable", site=tariff.site, reason=tariff.reason)


def _read(site: str, currency: str, timezone: str, price: Decimal, periods: str) -> Tariff | UnreadableTariff:
    try:
        ZoneInfo(timezone)
        return Tariff(site, currency, timezone, price, _decode(periods))
    except (msgspec.MsgspecError, ValueError, OSError, KeyError) as error:  # ZoneInfo raises the last three
        return UnreadableTariff(site, f"{type(error).__name__}: {error}")


_ROW: Any = args_row(_read)  # the columns of _SELECT
