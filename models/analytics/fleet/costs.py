"""The cost of the whole fleet's energy, from roll-ups: hour by hour, where an hour has one price.

AC energy costs to the cent what the vehicles' own costs add up to (models/analytics/money/costs.py). DC energy counts
by the hour: all of an hour in which a meter with a tariff fed the vehicle and had a reading, at the price of the first
such meter by id. Hours in which a site's price changes, as in zones half an hour beside UTC, are computed from
history, reading by reading. That is affordable for a few: above MAX_FROM_HISTORY there is no answer.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import psycopg
from psycopg.rows import class_row, scalar_row

from models.analytics.energy.queries import HOUR, EnergyQuery
from models.analytics.fleet.summary import FleetQuery
from models.analytics.money.costs import UNITS_PER_KWH, Cost, by_currency, get_costs
from models.analytics.money.tariffs import Tariff, get_tariffs, price_bands
from models.sql import read_sql, with_pieces

# Vehicle-hours in which the price changes, an answer. A thousand take about half a second.
MAX_FROM_HISTORY = 2_000

_COSTS = read_sql(__file__, "costs")
_CHANGING_HOURS = read_sql(__file__, "changing_hours")


class _SiteHour(NamedTuple):
    site: str
    hour: datetime
    ac_units: Decimal
    dc_units: Decimal


class _ChangingHour(NamedTuple):
    """`is_first`: the meter's tariff is the one that prices the vehicle's DC energy."""

    vehicle_id: str
    meter_id: str
    hour: datetime
    is_first: bool


def get_fleet_costs(connection: psycopg.Connection, query: FleetQuery) -> list[Cost] | None:
    """By currency, of the window. Empty: no tariff applies. None: too much of it would have to come from history.

    Call it in one `consistent_read` with what stands beside it.
    """
    tariffs = get_tariffs(connection, _list_sites(connection))
    if not tariffs:
        return []
    prices = {
        (tariff.site, hour): price
        for tariff in tariffs.values()
        for hour, price in _hourly_prices(tariff, query.window.start, query.window.end)
    }
    changing = [key for key, price in prices.items() if price is None]
    values = query.values | {
        "sites": list(tariffs),
        "changing_sites": [site for site, _ in changing],
        "changing_hours": [hour for _, hour in changing],
        "limit": MAX_FROM_HISTORY + 1,
    }
    binding = query.bound("vehicle_id")
    costs = []
    site_hours = connection.cursor(row_factory=class_row(_SiteHour))
    for found in site_hours.execute(with_pieces(_COSTS, binding=binding), values):
        price = prices[found.site, found.hour]
        if price is not None:
            kwh, dc_kwh = found.ac_units / UNITS_PER_KWH, found.dc_units / UNITS_PER_KWH
            costs.append(Cost(tariffs[found.site].currency, kwh, kwh * price, dc_kwh * price))
    if changing:
        hours = connection.cursor(row_factory=class_row(_ChangingHour))
        rows = hours.execute(with_pieces(_CHANGING_HOURS, binding=binding), values).fetchall()
        if len(rows) > MAX_FROM_HISTORY:
            return None
        costs += _from_history(connection, rows, query)
    return by_currency(costs)


def _list_sites(connection: psycopg.Connection) -> list[str]:
    statement = "select site from tariffs where site in (select site from devices where kind = 'meter')"
    return connection.cursor(row_factory=scalar_row).execute(statement).fetchall()


def _hourly_prices(tariff: Tariff, start: datetime, end: datetime) -> Iterator[tuple[datetime, Decimal | None]]:
    """Each hour of [start, end) with its price; None if that changes within the hour."""
    bands = price_bands(tariff, start, end)
    place, hour = 0, start
    while hour < end:
        price: Decimal | None = bands[place].price
        while place + 1 < len(bands) and bands[place + 1].starts < hour + HOUR:
            place += 1
            price = bands[place].price if bands[place].starts == hour else None
        yield hour, price
        hour += HOUR


def _from_history(connection: psycopg.Connection, rows: Sequence[_ChangingHour], query: FleetQuery) -> Iterator[Cost]:
    """The costs of these vehicle-hours, one statement an hour, so that each reads the partitions of one day."""
    by_hour: dict[datetime, list[_ChangingHour]] = defaultdict(list)
    for row in rows:
        by_hour[row.hour].append(row)
    for hour, of_hour in by_hour.items():
        end = min(hour + HOUR, query.window.end)
        queries = [EnergyQuery(row.vehicle_id, hour, end, row.meter_id) for row in of_hour]
        found = get_costs(connection, queries, heartbeat_seconds=query.heartbeat_seconds)
        for costs, row in zip(found, of_hour, strict=True):
            for cost in costs:
                yield cost if row.is_first else Cost(cost.currency, cost.kwh, cost.energy, Decimal())
