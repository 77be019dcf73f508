"""Touched: the hours of devices whose roll-up rows are to be computed anew, and what that entails.

They stand in two temporary tables of the caller's transaction, so that each step is one statement, whether it is
about one device's year or everybody's hour.
"""

from collections.abc import Sequence
from datetime import datetime

import psycopg

from models.analytics.energy.registers import NOT_PLAIN
from models.readings import METER, VEHICLE, Kind
from models.storage.stale_marks import HOUR

STALE_HOURS = {METER.name: "stale_meter_hours", VEHICLE.name: "stale_vehicle_hours"}

_BEGIN = """
create temporary table stale_meter_hours (device_id text collate "C", hour timestamptz, primary key (device_id, hour))
  on commit drop;
create temporary table stale_vehicle_hours (like stale_meter_hours including all) on commit drop
"""


def overlaps(feed: str, hours: str = "stale") -> str:
    """SQL: the feed and the hour overlap. The constants beside it bound all touched hours, for the planner."""
    return f"""{feed}.valid_from < {hours}.hour + interval '1 hour' and {feed}.valid_to > {hours}.hour
      and {feed}.valid_from < %(before)s and {feed}.valid_to > %(since)s"""


def create_tables(connection: psycopg.Connection) -> None:
    """Nothing is touched yet."""
    connection.execute(_BEGIN)


def add_all_devices(connection: psycopg.Connection, kind: Kind, hour: datetime) -> int:
    """Every device of the kind that was ever heard, of vehicles also who is or was fed; returns how many it added."""
    fed = """union select vehicle_id from vehicle_feeds where valid_from < %(end)s and valid_to > %(hour)s
             union select vehicle_id from vehicle_hourly where hour = %(hour)s"""
    return connection.execute(
        f"""insert into {STALE_HOURS[kind.name]} (device_id, hour)
            select {kind.device_column}, %(hour)s from (
              select {kind.device_column} from {kind.live} {fed if kind is VEHICLE else ""}) as everyone
            on conflict do nothing""",
        {"hour": hour, "end": hour + HOUR},
    ).rowcount


def add_marked_hours(connection: psycopg.Connection, mark_ids: Sequence[int]) -> None:
    """What marks of one hour and with devices are about."""
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
    """Of the hours in [start, end) those that say something of the devices, or could; returns how many.

    What has a reading is rolled up or marked: there is nothing else that a setting could change.
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


# ── What follows ─────────────────────────────────────────────────────────────────────────────────────────────────

# The increment of the first instant after the hour looks back into it. By {kind}_readings_history_covering.
_FOLLOW_REGISTERS = """
insert into {table} (device_id, hour)
select distinct stale.device_id, date_trunc('hour', following.recorded_at, 'UTC')
from {table} as stale
join devices on devices.kind = '{kind.name}' and devices.device_id = stale.device_id and {not_plain}
cross join lateral (
  select recorded_at from {kind.history}
  where {kind.device_column} = stale.device_id and recorded_at >= stale.hour + interval '1 hour'
    and recorded_at >= %(since)s and recorded_at < %(until)s
  order by recorded_at limit 1
) as following
on conflict do nothing
"""
# What others get of a meter depends on what this vehicle took.
_FOLLOW_COMPANY = f"""
insert into stale_vehicle_hours (device_id, hour)
select distinct other.vehicle_id, stale.hour
from stale_vehicle_hours as stale
join vehicle_feeds as own on own.vehicle_id = stale.device_id and {overlaps("own")}
join vehicle_feeds as other on other.meter_id = own.meter_id and other.vehicle_id <> own.vehicle_id
  and {overlaps("other")}
on conflict do nothing
"""
_FOLLOW_METERS = f"""
insert into stale_vehicle_hours (device_id, hour)
select distinct feed.vehicle_id, stale.hour
from stale_meter_hours as stale join vehicle_feeds as feed
  on feed.meter_id = stale.device_id and {overlaps("feed")}
on conflict do nothing
"""


def add_dependents(connection: psycopg.Connection, until: datetime) -> None:
    """Touches what changes with what is touched, as far as it was rolled up."""
    bounds = time_bounds(connection)
    if bounds is None:
        return
    for kind in (METER, VEHICLE):
        statement = _FOLLOW_REGISTERS.format(table=STALE_HOURS[kind.name], kind=kind, not_plain=NOT_PLAIN)
        connection.execute(statement, bounds | {"until": until})
    bounds = time_bounds(connection)
    connection.execute(_FOLLOW_COMPANY, bounds)
    connection.execute(_FOLLOW_METERS, bounds)


def time_bounds(connection: psycopg.Connection) -> dict[str, datetime] | None:
    """The first touched hour, and the end of the last; None where there is none. And tells the planner how many."""
    connection.execute("analyze stale_meter_hours, stale_vehicle_hours")
    since, before = connection.execute(
        """select min(hour), max(hour) + interval '1 hour'
           from (select hour from stale_meter_hours union all select hour from stale_vehicle_hours) as stale"""
    ).fetchone()
    return since and {"since": since, "before": before}
