"""The trend of the fleet: its energy by hour or day, from roll-ups."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg.rows import class_row

from models.analytics.fleet.summary import FleetQuery, Window
from models.sql import read_sql, with_pieces

_TREND = read_sql(__file__, "trend")


@dataclass(frozen=True)
class Bucket:
    """A part of the window. Fed is a vehicle that a meter fed in the whole window, so buckets add up to its totals.

    `vehicles`: how many had a reading or were fed; of a bucket of several hours, in the hour with the most.
    """

    start: datetime
    end: datetime
    ac_kwh: float = 0.0
    dc_kwh: float = 0.0
    unmetered_dc_kwh: float = 0.0
    readings: int = 0
    vehicles: int = 0
    implausible: int = 0


def list_hourly(connection: psycopg.Connection, query: FleetQuery) -> list[Bucket]:
    """The hours of the window in which a vehicle had a reading or was fed, ascending."""
    statement = with_pieces(_TREND, binding=query.bound("vehicle_id"))
    return connection.cursor(row_factory=class_row(Bucket)).execute(statement, query.values).fetchall()


def fill_buckets(hours: Iterable[Bucket], whole: Window, length: timedelta) -> list[Bucket]:
    """The hours in buckets of an hour or a day of UTC, without a gap; the first and the last are cut to the window."""
    by_bucket: dict[datetime, list[Bucket]] = defaultdict(list)
    for hour in hours:
        by_bucket[_floor(hour.start, length)].append(hour)
    buckets, start = [], _floor(whole.start, length)
    while start < whole.end:
        within = by_bucket[start]
        buckets.append(
            Bucket(
                max(start, whole.start),
                min(start + length, whole.end),
                sum(hour.ac_kwh for hour in within),
                sum(hour.dc_kwh for hour in within),
                sum(hour.unmetered_dc_kwh for hour in within),
                sum(hour.readings for hour in within),
                max((hour.vehicles for hour in within), default=0),
                sum(hour.implausible for hour in within),
            )
        )
        start += length
    return buckets


def _floor(moment: datetime, length: timedelta) -> datetime:
    return moment - (moment - datetime(2000, 1, 1, tzinfo=UTC)) % length
