"""Tariffs: what a kWh costs at a site, by the clock and the weekday of its time zone.

A tariff is a base price and periods with prices of their own; the first period that holds a time says its price.
A period whose end is not after its start passes midnight, and belongs to the day on which it begins: `fri` from
22:00 to 06:00 ends on Saturday morning. Times are those that the zone's clock shows, so an hour that the clock
shows twice costs the same twice, and one that it skips costs nobody anything.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import psycopg

from models.analytics.energy.buckets import next_stop

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MIDNIGHT = timedelta()


class Period(msgspec.Struct, frozen=True, rename={"begins": "from", "ends": "to", "price": "pricePerKwh"}):
    """Some days of the week, from `begins` to before `ends`, both HH:MM; `ends` may be 24:00."""

    days: tuple[str, ...]
    begins: str
    ends: str
    price: Decimal

    def holds(self, local: datetime) -> bool:
        """Whether a naive local time is in it."""
        begins, ends = _time_of_day(self.begins), _time_of_day(self.ends)
        shown = local - local.replace(hour=0, minute=0, second=0, microsecond=0)
        today, yesterday = DAYS[local.weekday()], DAYS[local.weekday() - 1]
        if begins < ends:
            return today in self.days and begins <= shown < ends
        return (today in self.days and shown >= begins) or (yesterday in self.days and shown < ends)


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
    """What a kWh costs in [start, end), ascending; the first band begins at `start`, neighbours differ in price."""
    zone = ZoneInfo(tariff.timezone)
    shown = {_time_of_day(text) for period in tariff.periods for text in (period.begins, period.ends)}
    stops = sorted((shown | {_MIDNIGHT}) - {timedelta(days=1)})
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

_COLUMNS = "site, currency, timezone, price_per_kwh as price, periods::text as periods"
# Prices as JSON numbers with every digit: Postgres keeps them as numeric, and they are never floats here.
_encode = msgspec.json.Encoder(decimal_format="number").encode
_decode = msgspec.json.Decoder(tuple[Period, ...]).decode


def put_tariff(connection: psycopg.Connection, tariff: Tariff) -> bool:
    """Sets the whole tariff of its site; returns whether there was none. What was counted before is priced anew."""
    return connection.execute(
        """insert into tariffs as t (site, currency, timezone, price_per_kwh, periods) values (%s, %s, %s, %s, %s)
           on conflict (site) do update set currency = excluded.currency, timezone = excluded.timezone,
             price_per_kwh = excluded.price_per_kwh, periods = excluded.periods, updated_at = now()
           returning xmax = 0""",
        [tariff.site, tariff.currency, tariff.timezone, tariff.price, _encode(tariff.periods).decode()],
    ).fetchone()[0]


def delete_tariff(connection: psycopg.Connection, site: str) -> bool:
    """Whether there was one. By primary key."""
    return connection.execute("delete from tariffs where site = %s", [site]).rowcount == 1


def get_tariffs(connection: psycopg.Connection, sites: Sequence[str]) -> dict[str, Tariff]:
    """The tariffs of those of the sites that have one, by site. By primary key."""
    rows = _cursor(connection).execute(f"select {_COLUMNS} from tariffs where site = any(%s)", [list(sites)])
    return {tariff.site: tariff for tariff in rows}


def list_tariffs(connection: psycopg.Connection, *, after: str, limit: int) -> list[Tariff]:
    """Tariffs in the order of their sites, from the one behind `after` on. By primary key."""
    query = f"select {_COLUMNS} from tariffs where site > %s order by site limit %s"
    return _cursor(connection).execute(query, [after, limit]).fetchall()


def _cursor(connection: psycopg.Connection) -> psycopg.Cursor[Tariff]:
    return connection.cursor(row_factory=lambda _: _tariff)


def _tariff(row: Sequence) -> Tariff:
    *values, periods = row
    return Tariff(*values, _decode(periods))
