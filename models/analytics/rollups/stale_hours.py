"""Stale hours: the device-hours whose roll-up rows a step recomputes, and those that depend on them.

They stand in two temporary tables of the step's transaction (stale_hours.sql). So a statement is the same whether it
is about one device's year or all devices' hour.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import psycopg
from psycopg.rows import class_row

from models.readings import METER, VEHICLE, Kind
from models.sql import one, read_sql
from models.storage.stale_marks import HOUR

STALE_HOURS = {METER.name: "stale_meter_hours", VEHICLE.name: "stale_vehicle_hours"}

_CREATE_TABLES = read_sql(__file__, "stale_hours")
_NEXT_METER_HOURS = read_sql(__file__, "next_meter_hours")
_NEXT_VEHICLE_HOURS = read_sql(__file__, "next_vehicle_hours")
_CO_FED_HOURS = read_sql(__file__, "co_fed_hours")


class Bounds(NamedTuple):
    """The first stale hour and the end of the last; None if there is none."""

    since: datetime | None
    before: datetime | None


def create_tables(connection: psycopg.Connection) -> None:
    """Creates the temporary tables, empty, for the caller's transaction."""
    connection.execute(_CREATE_TABLES)


def add_all_devices(connection: psycopg.Connection, kind: Kind, hour: datetime) -> int:
    """Adds the hour of every device of the kind that may have a reading in it; returns how many were added.

    Those are the devices whose newest reading is not older than the hour: what was last seen before it costs nothing.
    Of vehicles also those that were fed in the hour, or have a roll-up row of it.
    """
    fed = """union select vehicle_id from vehicle_feeds where valid_from < %(end)s and valid_to > %(hour)s
             union select vehicle_id from vehicle_hourly where hour = %(hour)s"""
    return connection.execute(
        f"""insert into {STALE_HOURS[kind.name]} (device_id, hour)
            select {kind.device_column}, %(hour)s
            from (select {kind.device_column} from {kind.live} where recorded_at >= %(hour)s
                  {fed if kind is VEHICLE else ""}) as known
            on conflict do nothing""",
        {"hour": hour, "end": hour + HOUR},
    ).rowcount


def add_marked_hours(connection: psycopg.Connection, mark_ids: Sequence[int]) -> None:
    """Adds the device-hours of marks of one hour that name their devices."""
    for kind in (METER, VEHICLE):
        connection.execute(
            f"""insert into {STALE_HOURS[kind.name]} (device_id, hour)
                select device_id, from_hour from rollup_marks cross join lateral unnest(device_ids) as device_id
                where id = any(%s) and kind = %s on conflict do nothing""",
            [list(mark_ids), kind.name],
        )


def add_rolled_hours(
    connection: psycopg.Connection, kind: Kind, device_ids: Sequence[str], start: datetime | None, end: datetime
) -> int:
    """Adds the devices' hours in [start, end) that have a roll-up row or could have one; returns how many.

    Every hour with a reading is rolled up or marked, so a changed setting or feed has no effect on any other.
    """
    rolled = """select meter_id, hour from meter_hourly
                where meter_id = any(%(ids)s) and hour >= %(start)s and hour < %(end)s"""
    if kind is VEHICLE:
        rolled = """select vehicle_id, hour from vehicle_hourly
                    where vehicle_id = any(%(ids)s) and hour >= %(start)s and hour < %(end)s
                    union
                    select feed.vehicle_id, hour from vehicle_feeds as feed join meter_hourly using (meter_id)
                    where feed.vehicle_id = any(%(ids)s) and hour >= %(start)s and hour < %(end)s
                      and hour > valid_from - interval '1 hour' and hour < valid_to"""
    return connection.execute(
        f"insert into {STALE_HOURS[kind.name]} (device_id, hour) {rolled} on conflict do nothing",
        {"ids": list(device_ids), "start": start or "-infinity", "end": end},
    ).rowcount


def add_dependents(connection: psycopg.Connection, until: datetime) -> None:
    """Adds the hours before `until` whose rows depend on a stale hour."""
    bounds = analyze_stale_hours(connection)
    if bounds.since is None:
        return
    for statement in (_NEXT_METER_HOURS, _NEXT_VEHICLE_HOURS):
        connection.execute(statement, {"since": bounds.since, "until": until})
    connection.execute(_CO_FED_HOURS, analyze_stale_hours(connection)._asdict())


def analyze_stale_hours(connection: psycopg.Connection) -> Bounds:
    """Has the planner know how many hours there are; returns their bounds."""
    connection.execute("analyze stale_meter_hours, stale_vehicle_hours")
    cursor = connection.cursor(row_factory=class_row(Bounds)).execute(
        """select min(hour) as since, max(hour) + interval '1 hour' as before
           from (select hour from stale_meter_hours union all select hour from stale_vehicle_hours) as stale"""
    )
    return one(cursor)
