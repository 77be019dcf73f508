"""The cost of the whole fleet's energy, from roll-ups: hour by hour, where an hour has one price.

It is what the vehicles' own costs add up to (models/analytics/money/costs.py). Hours in which a site's price changes,
as in zones half an hour beside UTC, are computed from history, reading by reading. That is affordable for a few: above
MAX_FROM_HISTORY there is no answer.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

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
    vehicle_id: str
    hour: datetime


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
    binding = query.bound("vehicle_id")
    values = query.values | {"sites": list(tariffs)}
    changing = _list_changing_hours(
        connection, [key for key, price in prices.items() if price is None], values, binding
    )
    if len(changing) > MAX_FROM_HISTORY:
        return None
    values["changing_vehicles"] = [found.vehicle_id for found in changing]
    values["changing_hours"] = [found.hour for found in changing]
    costs = list(_from_history(connection, changing, query))
    site_hours = connection.cursor(row_factory=class_row(_SiteHour))
    for found in site_hours.execute(with_pieces(_COSTS, binding=binding), values):
        price = prices[found.site, found.hour]
        if price is not None:  # else the vehicle-hour came from history
            kwh, dc_kwh = found.ac_units / UNITS_PER_KWH, found.dc_units / UNITS_PER_KWH
            costs.append(Cost(tariffs[found.site].currency, kwh, kwh * price, dc_kwh * price))
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


def _list_changing_hours(
    connection: psycopg.Connection, site_hours: Sequence[tuple[str, datetime]], values: dict[str, Any], binding: str
) -> list[_ChangingHour]:
    """The vehicle-hours with one of these sites and hours, up to one more than MAX_FROM_HISTORY."""
    if not site_hours:
        return []
    values = values | {
        "changing_sites": [site for site, _ in site_hours],
        "changing_hours": [hour for _, hour in site_hours],
        "limit": MAX_FROM_HISTORY + 1,
    }
    cursor = connection.cursor(row_factory=class_row(_ChangingHour))
    return cursor.execute(with_pieces(_CHANGING_HOURS, binding=binding), values).fetchall()


def _from_history(
    connection: psycopg.Connection, changing: Sequence[_ChangingHour], query: FleetQuery
) -> Iterator[Cost]:
    """The costs of these vehicle-hours, one statement an hour, so that each reads the partitions of one day."""
    vehicles: dict[datetime, list[str]] = defaultdict(list)
    for vehicle_id, hour in changing:
        vehicles[hour].append(vehicle_id)
    for hour, vehicle_ids in vehicles.items():
        end = min(hour + HOUR, query.window.end)
        queries = [EnergyQuery(vehicle_id, hour, end) for vehicle_id in vehicle_ids]
        for costs in get_costs(connection, queries, heartbeat_seconds=query.heartbeat_seconds):
            yield from costs
