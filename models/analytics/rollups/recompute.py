"""Recomputing: the roll-up rows of what was stale (models/analytics/rollups/stale_hours.py), anew from history."""

from datetime import datetime

import psycopg

from models.analytics.energy.feeds import ATTRIBUTED, EnergyQuery, query_values
from models.analytics.energy.registers import increments
from models.analytics.rollups.stale_hours import STALE_HOURS, overlaps, time_bounds
from models.readings import METER, VEHICLE
from models.storage.stale_marks import HOUR

# Vehicle-hours a statement, of those whose meters need to be divided.
ASKED_AT_ONCE = 2_000

_FED = """
create temporary table fed (device_id text collate "C", hour timestamptz, meter_id text collate "C", kwh float8,
                            readings bigint, shared boolean) on commit drop
"""
# Aggregated inside of the lateral: a device's hour at a time, straight from the covering index.
_METERS = f"""
insert into meter_hourly as rolled (meter_id, hour, kwh, voltage_sum, readings, implausible)
select stale.device_id, stale.hour, kwh, voltage_sum, readings, implausible
from stale_meter_hours as stale
cross join lateral (
  select sum(kwh) as kwh, sum(voltage) as voltage_sum, count(*) as readings,
         count(*) filter (where implausible) as implausible
  from {
    increments(
        METER,
        "stale.device_id",
        ["%(since)s", "stale.hour"],
        ["%(before)s", "%(until)s", "stale.hour + interval '1 hour'"],
        ["voltage"],
    )
} as increment
) as own
where readings > 0
on conflict (meter_id, hour) do update set kwh = excluded.kwh, voltage_sum = excluded.voltage_sum,
  readings = excluded.readings, implausible = excluded.implausible
"""
# Most meters feed one vehicle, for the whole hour: all that such a meter counted is the vehicle's.
_FED_ALONE = f"""
insert into fed (device_id, hour, meter_id, kwh, readings, shared)
select distinct stale.device_id, stale.hour, feed.meter_id, rolled.kwh, rolled.readings, false
from stale_vehicle_hours as stale
join vehicle_feeds as feed on feed.vehicle_id = stale.device_id and {overlaps("feed")}
  and feed.valid_from <= stale.hour and feed.valid_to >= stale.hour + interval '1 hour'
join meter_hourly as rolled on rolled.meter_id = feed.meter_id and rolled.hour = stale.hour
where not exists (
  select from vehicle_feeds as other
  where other.meter_id = feed.meter_id and other.vehicle_id <> feed.vehicle_id and {overlaps("other")})
"""
_FED_OTHERWISE = f"""
select distinct stale.device_id, stale.hour, feed.meter_id
from stale_vehicle_hours as stale
join vehicle_feeds as feed on feed.vehicle_id = stale.device_id and {overlaps("feed")}
join meter_hourly as rolled on rolled.meter_id = feed.meter_id and rolled.hour = stale.hour
where not exists (
  select from fed where fed.device_id = stale.device_id and fed.hour = stale.hour and fed.meter_id = feed.meter_id)
"""
_FED_IN_PART = f"""
insert into fed (device_id, hour, meter_id, kwh, readings, shared)
{ATTRIBUTED}
select query.vehicle_id, date_trunc('hour', query.starts, 'UTC'), query.meter_id, part.kwh, part.readings, part.shared
from query
join (select number, sum(kwh) as kwh, count(*) as readings from attributed group by number) as summed using (number)
join (select number, bool_or(shared) as shared from span group by number) as whole using (number)
cross join lateral (select summed.kwh, summed.readings, whole.shared) as part
"""
_VEHICLES = f"""
with computed as (
  insert into vehicle_hourly as rolled (vehicle_id, hour, kwh, battery_temp_sum, battery_temp_max, soc_sum, readings,
    soc_readings, implausible, fed_readings, shared, ac_kwh, fed_by, fed_kwh)
  select stale.device_id, stale.hour, own.kwh, own.battery_temp_sum, own.battery_temp_max, own.soc_sum,
         own.readings, own.soc_readings, own.implausible, coalesce(summed.readings, 0), coalesce(summed.shared, false),
         coalesce(summed.kwh, 0), coalesce(fed_by, '{{}}'), coalesce(fed_kwh, '{{}}')
  from stale_vehicle_hours as stale
  cross join lateral (
    select coalesce(sum(kwh), 0) as kwh, coalesce(sum(battery_temp), 0) as battery_temp_sum,
           max(battery_temp) as battery_temp_max, sum(soc) as soc_sum, count(*) as readings,
           count(soc) as soc_readings, count(*) filter (where implausible) as implausible
    from {
    increments(
        VEHICLE,
        "stale.device_id",
        ["%(since)s", "stale.hour"],
        ["%(before)s", "%(until)s", "stale.hour + interval '1 hour'"],
        ["battery_temp", "soc"],
    )
} as increment
  ) as own
  left join (
    select device_id, hour, sum(kwh) as kwh, sum(readings) as readings, bool_or(shared) as shared,
           array_agg(meter_id order by meter_id) as fed_by, array_agg(kwh order by meter_id) as fed_kwh
    from fed group by device_id, hour
  ) as summed using (device_id, hour)
  where own.readings > 0 or summed.readings > 0
  on conflict (vehicle_id, hour) do update set kwh = excluded.kwh, battery_temp_sum = excluded.battery_temp_sum,
    battery_temp_max = excluded.battery_temp_max, soc_sum = excluded.soc_sum, readings = excluded.readings,
    soc_readings = excluded.soc_readings, implausible = excluded.implausible, fed_readings = excluded.fed_readings,
    shared = excluded.shared, ac_kwh = excluded.ac_kwh, fed_by = excluded.fed_by, fed_kwh = excluded.fed_kwh
  returning vehicle_id, hour
)
delete from vehicle_hourly as rolled using stale_vehicle_hours as stale
where rolled.vehicle_id = stale.device_id and rolled.hour = stale.hour
  and not exists (select from computed where computed.vehicle_id = rolled.vehicle_id and computed.hour = rolled.hour)
"""


def recompute(
    connection: psycopg.Connection, until: datetime, *, since: datetime | None, heartbeat_seconds: int
) -> int:
    """The rows of what is touched in [since, until), from what is recorded before `until`; returns how many it was.

    Before `since` history is gone, and what was made of it stays as it is.
    """
    for table in STALE_HOURS.values():
        connection.execute(
            f"delete from {table} where hour >= %s or hour < coalesce(%s::timestamptz, '-infinity')", [until, since]
        )
    bounds = time_bounds(connection)
    if bounds is None:
        return 0
    values = bounds | {"until": until, "heartbeat_seconds": heartbeat_seconds}
    meters = connection.execute("select count(*) from stale_meter_hours").fetchone()[0]
    connection.execute(_METERS, values)
    connection.execute(_FED)
    connection.execute(_FED_ALONE, bounds)
    connection.execute("analyze fed")
    divided = connection.execute(_FED_OTHERWISE, bounds).fetchall()
    for start in range(0, len(divided), ASKED_AT_ONCE):
        queries = [
            EnergyQuery(vehicle_id, hour, min(hour + HOUR, until), meter_id)
            for vehicle_id, hour, meter_id in divided[start : start + ASKED_AT_ONCE]
        ]
        connection.execute(_FED_IN_PART, query_values(queries, heartbeat_seconds))
    connection.execute(_VEHICLES, values)
    return meters + connection.execute("select count(*) from stale_vehicle_hours").fetchone()[0]
