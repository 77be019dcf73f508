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

TABLES = {METER.name: "touched_meters", VEHICLE.name: "touched_vehicles"}

_BEGIN = """
create temporary table touched_meters (device_id text collate "C", hour timestamptz, primary key (device_id, hour))
  on commit drop;
create temporary table touched_vehicles (like touched_meters including all) on commit drop
"""


def reaches_into(feed: str, touched: str = "touched") -> str:
    """SQL: the feed and the hour overlap. The constants beside it bound all touched hours, for the planner."""
    return f"""{feed}.valid_from < {touched}.hour + interval '1 hour' and {feed}.valid_to > {touched}.hour
      and {feed}.valid_from < %(before)s and {feed}.valid_to > %(since)s"""


def begin(connection: psycopg.Connection) -> None:
    """Nothing is touched yet."""
    connection.execute(_BEGIN)


def touch_everyone(connection: psycopg.Connection, kind: Kind, hour: datetime) -> int:
    """Every device of the kind that was ever heard, of vehicles also who is or was fed; returns how many it added."""
    fed = """union select vehicle_id from vehicle_feeds where valid_from < %(end)s and valid_to > %(hour)s
             union select vehicle_id from vehicle_hourly where hour = %(hour)s"""
    return connection.execute(
        f"""insert into {TABLES[kind.name]} (device_id, hour)
            select {kind.device_column}, %(hour)s from (
              select {kind.device_column} from {kind.live} {fed if kind is VEHICLE else ""}) as everyone
            on conflict do nothing""",
        {"hour": hour, "end": hour + HOUR},
    ).rowcount


def touch_marked(connection: psycopg.Connection, mark_ids: Sequence[int]) -> None:
    """What marks of one hour and with devices are about."""
    for kind in (METER, VEHICLE):
        connection.execute(
            f"""insert into {TABLES[kind.name]} (device_id, hour)
                select device_id, from_hour from rollup_marks cross join lateral unnest(device_ids) as device_id
                where id = any(%s) and kind = %s on conflict do nothing""",
            [list(mark_ids), kind.name],
        )


def touch_rolled(
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
        f"insert into {TABLES[kind.name]} (device_id, hour) {rolled} on conflict do nothing",
        {"ids": list(device_ids), "start": start or "-infinity", "end": end},
    ).rowcount


# ── What follows ─────────────────────────────────────────────────────────────────────────────────────────────────

# The increment of the first instant after the hour looks back into it. By {kind}_readings_history_covering.
_FOLLOW_REGISTERS = """
insert into {table} (device_id, hour)
select distinct touched.device_id, date_trunc('hour', following.recorded_at, 'UTC')
from {table} as touched
join devices on devices.kind = '{kind.name}' and devices.device_id = touched.device_id and {not_plain}
cross join lateral (
  select recorded_at from {kind.history}
  where {kind.device_column} = touched.device_id and recorded_at >= touched.hour + interval '1 hour'
    and recorded_at >= %(since)s and recorded_at < %(until)s
  order by recorded_at limit 1
) as following
on conflict do nothing
"""
# What others get of a meter depends on what this vehicle took.
_FOLLOW_COMPANY = f"""
insert into touched_vehicles (device_id, hour)
select distinct other.vehicle_id, touched.hour
from touched_vehicles as touched
join vehicle_feeds as own on own.vehicle_id = touched.device_id and {reaches_into("own")}
join vehicle_feeds as other on other.meter_id = own.meter_id and other.vehicle_id <> own.vehicle_id
  and {reaches_into("other")}
on conflict do nothing
"""
_FOLLOW_METERS = f"""
insert into touched_vehicles (device_id, hour)
select distinct feed.vehicle_id, touched.hour
from touched_meters as touched join vehicle_feeds as feed
  on feed.meter_id = touched.device_id and {reaches_into("feed")}
on conflict do nothing
"""


def follow(connection: psycopg.Connection, until: datetime) -> None:
    """Touches what changes with what is touched, as far as it was rolled up."""
    bounds = bounds_of(connection)
    if bounds is None:
        return
    for kind in (METER, VEHICLE):
        statement = _FOLLOW_REGISTERS.format(table=TABLES[kind.name], kind=kind, not_plain=NOT_PLAIN)
        connection.execute(statement, bounds | {"until": until})
    bounds = bounds_of(connection)
    connection.execute(_FOLLOW_COMPANY, bounds)
    connection.execute(_FOLLOW_METERS, bounds)


def bounds_of(connection: psycopg.Connection) -> dict[str, datetime] | None:
    """The first touched hour, and the end of the last; None where there is none. And tells the planner how many."""
    connection.execute("analyze touched_meters, touched_vehicles")
    since, before = connection.execute(
        """select min(hour), max(hour) + interval '1 hour'
           from (select hour from touched_meters union all select hour from touched_vehicles) as touched"""
    ).fetchone()
    return since and {"since": since, "before": before}
