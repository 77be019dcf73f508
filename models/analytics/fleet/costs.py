"""What the energy of the whole fleet cost, from roll-ups: hour by hour, where an hour has one price.

AC is to the cent what the vehicles' own costs add up to (models/analytics/money/costs.py). DC counts by the hour: all
of an hour in which a meter with a tariff fed the vehicle and was heard, at the price of the first such meter by id.
Hours in which a site's price changes, as where its zone is half an hour beside UTC, are computed from history, reading
by reading. That is affordable for few: above MAX_FROM_HISTORY nothing is said rather than something wrong.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

import psycopg

from models.analytics.energy.feeds import EnergyQuery
from models.analytics.money.costs import UNITS_A_KWH, Cost, by_currency, get_costs
from models.analytics.money.tariffs import Tariff, get_tariffs, price_bands

HOUR = timedelta(hours=1)
# Vehicle-hours in which the price changes, an answer. A thousand take about half a second.
MAX_FROM_HISTORY = 2_000

# Vehicle-hours by the meters that fed them; is_first: of the meters with a tariff, whose price DC is worth. Most were
# fed by one, and are summed apart: to unfold the arrays of a fleet's day takes longer than all the rest.
_HOURS_OF_VEHICLES = "hour >= %(start)s and hour < %(end)s and {bound}"
_FED_BY_ONE = f"""
select vehicle_id, hour, rolled.kwh as dc, fed_by[1] as meter_id, fed_kwh[1] as kwh, site.name as site,
       true as is_first
from vehicle_hourly as rolled join site on site.meter_id = fed_by[1]
where cardinality(fed_by) = 1 and {_HOURS_OF_VEHICLES}
"""
_FED_BY_SEVERAL = f"""
select vehicle_id, hour, rolled.kwh as dc, fed.meter_id, fed.kwh, site.name as site,
       fed.place = 1 or not exists (select from site as earlier where earlier.meter_id = any(fed_by[:fed.place - 1]))
         as is_first
from vehicle_hourly as rolled
cross join lateral unnest(fed_by, fed_kwh) with ordinality as fed (meter_id, kwh, place)
join site on site.meter_id = fed.meter_id
where cardinality(fed_by) > 1 and {_HOURS_OF_VEHICLES}
"""
_SITES = """
with site as materialized (
  select device_id as meter_id, site as name from devices where kind = 'meter' and site = any(%(sites)s)
),
changing as materialized (
  select site, hour from unnest(%(changing_sites)s::text[], %(changing_hours)s::timestamptz[]) as changing (site, hour)
)
"""
_ROLLED = " union all ".join(
    f"""
select site, hour, sum((kwh * {UNITS_A_KWH})::int8), sum((dc * {UNITS_A_KWH})::int8) filter (where is_first)
from ({fed}) as fed where (site, hour) not in (select site, hour from changing)
group by site, hour
"""
    for fed in (_FED_BY_ONE, _FED_BY_SEVERAL)
)
_CHANGING = f"""
select vehicle_id, meter_id, hour, is_first
from ({_FED_BY_ONE} union all {_FED_BY_SEVERAL}) as fed where (site, hour) in (select site, hour from changing)
order by hour limit %(limit)s
"""


def get_fleet_costs(
    connection: psycopg.Connection,
    start: datetime,
    end: datetime,
    *,
    heartbeat_seconds: int,
    bound: str = "true",
    values: Mapping | None = None,
) -> list[Cost] | None:
    """By currency, of [start, end), which must be rolled up; `start` is a full hour.

    Empty: no tariff applies. None: too much of it would have to come from history. `bound`, with its `values`, is a
    condition on `vehicle_id`. Ask in one transaction with what stands beside it.
    """
    tariffs = get_tariffs(connection, _sites(connection))
    if not tariffs:
        return []
    prices = {(tariff.site, hour): price for tariff in tariffs.values() for hour, price in _hours(tariff, start, end)}
    changing = [key for key, price in prices.items() if price is None]
    given = {
        **(values or {}),
        "start": start,
        "end": end,
        "sites": list(tariffs),
        "changing_sites": [site for site, _ in changing],
        "changing_hours": [hour for _, hour in changing],
        "limit": MAX_FROM_HISTORY + 1,
    }
    costs = [
        _cost(tariffs[site], prices[site, hour], kwh, dc)
        for site, hour, kwh, dc in connection.execute(_SITES + _ROLLED.format(bound=bound), given)
    ]
    if changing:
        rows = connection.execute(_SITES + _CHANGING.format(bound=bound), given).fetchall()
        if len(rows) > MAX_FROM_HISTORY:
            return None
        costs += _from_history(connection, rows, end, heartbeat_seconds)
    return by_currency(costs)


def _sites(connection: psycopg.Connection) -> list[str]:
    query = "select site from tariffs where site in (select site from devices where kind = 'meter')"
    return [site for (site,) in connection.execute(query)]


def _hours(tariff: Tariff, start: datetime, end: datetime) -> Iterator[tuple[datetime, Decimal | None]]:
    """Each hour of [start, end) with its price; None where that changes within the hour."""
    bands = price_bands(tariff, start, end)
    place, hour = 0, start
    while hour < end:
        price = bands[place].price
        while place + 1 < len(bands) and bands[place + 1].starts < hour + HOUR:
            place += 1
            price = bands[place].price if bands[place].starts == hour else None
        yield hour, price
        hour += HOUR


def _cost(tariff: Tariff, price: Decimal, units: Decimal, dc_units: Decimal | None) -> Cost:
    kwh, dc = units / UNITS_A_KWH, (dc_units or Decimal()) / UNITS_A_KWH
    return Cost(tariff.currency, kwh, kwh * price, dc * price)


def _from_history(connection, rows, end: datetime, heartbeat_seconds: int) -> Iterator[Cost]:
    """An hour a statement, so that no more than its day is looked at."""
    by_hour = defaultdict(list)
    for vehicle_id, meter_id, hour, is_first in rows:
        by_hour[hour].append((EnergyQuery(vehicle_id, hour, min(hour + HOUR, end), meter_id), is_first))
    for queries in by_hour.values():
        found = get_costs(connection, [fleet_query for fleet_query, _ in queries], heartbeat_seconds=heartbeat_seconds)
        for costs, (_, is_first) in zip(found, queries, strict=True):
            for cost in costs:
                yield cost if is_first else Cost(cost.currency, cost.kwh, cost.energy, Decimal())
