"""The fleet's course: its energy by hour or day, from roll-ups."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg.rows import class_row

from models.analytics.fleet.summary import FleetQuery, Window


@dataclass(frozen=True)
class Bucket:
    """A part of the window. Fed is who was fed in the whole window, so that buckets add up to its totals.

    `vehicles`: how many were heard or fed in it; of several hours, in the one in which most were.
    """

    start: datetime
    end: datetime
    ac_kwh: float = 0.0
    dc_kwh: float = 0.0
    unmetered_dc_kwh: float = 0.0
    readings: int = 0
    vehicles: int = 0
    implausible: int = 0


def list_hourly(connection: psycopg.Connection, fleet_query: FleetQuery) -> list[Bucket]:
    """The hours of the window in which anything was heard or fed, ascending."""
    where = f"hour >= %(start)s and hour < %(end)s and {fleet_query.bound('vehicle_id')}"
    never_fed = f"select vehicle_id from vehicle_hourly where {where} group by 1 having sum(fed_readings) = 0"
    unmetered = [vehicle_id for (vehicle_id,) in connection.execute(never_fed, fleet_query.values).fetchall()]
    query = f"""
select hour as start, least(hour + interval '1 hour', %(end)s) as "end", sum(ac_kwh) as ac_kwh, sum(kwh) as dc_kwh,
       coalesce(sum(kwh) filter (where vehicle_id = any(%(unmetered)s)), 0) as unmetered_dc_kwh,
       sum(readings)::int8 as readings, count(*) as vehicles, sum(implausible)::int8 as implausible
from vehicle_hourly where {where} group by hour order by hour
"""
    values = fleet_query.values | {"unmetered": unmetered}
    hours = connection.cursor(row_factory=class_row(Bucket)).execute(query, values)
    return [replace(hour, dc_kwh=hour.dc_kwh - hour.unmetered_dc_kwh) for hour in hours]


def fill_buckets(hours: Iterable[Bucket], whole: Window, length: timedelta) -> list[Bucket]:
    """The hours in buckets of an hour or a day of UTC, without a gap; the first and the last as the window has them."""
    found: dict[datetime, list[Bucket]] = defaultdict(list)
    for hour in hours:
        found[_floor(hour.start, length)].append(hour)
    buckets, place = [], _floor(whole.start, length)
    while place < whole.end:
        within = found[place]
        buckets.append(
            Bucket(
                max(place, whole.start),
                min(place + length, whole.end),
                sum(hour.ac_kwh for hour in within),
                sum(hour.dc_kwh for hour in within),
                sum(hour.unmetered_dc_kwh for hour in within),
                sum(hour.readings for hour in within),
                max((hour.vehicles for hour in within), default=0),
                sum(hour.implausible for hour in within),
            )
        )
        place += length
    return buckets


def _floor(at: datetime, length: timedelta) -> datetime:
    return at - (at - datetime(2000, 1, 1, tzinfo=UTC)) % length
