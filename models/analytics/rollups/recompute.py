"""Recomputes the roll-up rows of the stale hours (models/analytics/rollups/stale_hours.py) from history."""

from datetime import datetime
from typing import NamedTuple

import psycopg
from psycopg.rows import class_row, scalar_row

from models.analytics.energy.queries import HOUR, EnergyQuery, query_values
from models.analytics.rollups.stale_hours import STALE_HOURS, analyze_stale_hours
from models.sql import one, read_sql

# Vehicle-hours a statement, of those with a meter whose energy must be divided.
DIVIDED_AT_ONCE = 2_000

_METERS = read_sql(__file__, "recompute_meters")
_WHOLE_SHARES = read_sql(__file__, "whole_shares")
_DIVIDED_HOURS = read_sql(__file__, "divided_hours")
_DIVIDED_SHARES = read_sql(__file__, "divided_shares")
_VEHICLES = read_sql(__file__, "recompute_vehicles")


class _DividedHour(NamedTuple):
    vehicle_id: str
    hour: datetime
    meter_id: str


def recompute(
    connection: psycopg.Connection, until: datetime, *, since: datetime | None, heartbeat_seconds: int
) -> int:
    """Recomputes the stale hours in [since, until) from what is recorded before `until`; returns how many they are.

    History before `since` is gone: roll-ups of that time stay as they are.
    """
    for table in STALE_HOURS.values():
        connection.execute(
            f"delete from {table} where hour >= %s or hour < coalesce(%s::timestamptz, '-infinity')", [until, since]
        )
    bounds = analyze_stale_hours(connection)
    if bounds.since is None or bounds.before is None:
        return 0
    end = min(bounds.before, until)
    feeds = {"since": bounds.since, "before": bounds.before, "end": end}
    readings = {"since": bounds.since, "end": end, "heartbeat_seconds": heartbeat_seconds}
    connection.execute(_METERS, readings)
    connection.execute(_WHOLE_SHARES, feeds)
    connection.execute("analyze vehicle_shares")
    divided = connection.cursor(row_factory=class_row(_DividedHour)).execute(_DIVIDED_HOURS, feeds).fetchall()
    for place in range(0, len(divided), DIVIDED_AT_ONCE):
        queries = [
            EnergyQuery(found.vehicle_id, found.hour, min(found.hour + HOUR, until), found.meter_id)
            for found in divided[place : place + DIVIDED_AT_ONCE]
        ]
        connection.execute(_DIVIDED_SHARES, query_values(queries, heartbeat_seconds))
    connection.execute(_VEHICLES, readings)
    count = "select (select count(*) from stale_meter_hours) + (select count(*) from stale_vehicle_hours)"
    return one(connection.cursor(row_factory=scalar_row).execute(count))
