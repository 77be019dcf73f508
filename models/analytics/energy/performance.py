"""Energy in, energy out and battery temperature of vehicles over windows, from the indexed history."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from models.analytics.energy.efficiency import efficiency
from models.analytics.energy.feeds import ATTRIBUTED, EnergyQuery, query_values
from models.analytics.energy.registers import increments, instants
from models.readings import METER, VEHICLE


@dataclass(frozen=True)
class Performance:
    """Energy in kWh, temperature in °C; points are distinct instants. `temperature` is None without a reading.

    The lists are of the meters that fed the vehicle, in the order of their ids: what of each meter's energy is the
    vehicle's, its points, and whether it fed others at the same time.
    """

    known: bool
    heartbeat_seconds: int
    dc_kwh: float
    temperature: float | None
    vehicle_points: int
    meters: list[str]
    meters_kwh: list[float]
    meters_points: list[int]
    meters_shared: list[bool]
    implausible: int

    @property
    def ac_kwh(self) -> float:
        return sum(self.meters_kwh)

    @property
    def meter_points(self) -> int:
        return sum(self.meters_points)

    @property
    def shared(self) -> bool:
        return any(self.meters_shared)

    @property
    def efficiency(self) -> float | None:
        """DC/AC; None where no AC energy was measured."""
        return efficiency(self.dc_kwh, self.ac_kwh)


# Of most vehicles nothing is shared and all registers are plain: then energy is the sum of values, in one index-only
# range scan of each history's covering index, for the vehicle and for each span of each meter. Otherwise these
# scans are not even begun, and the answer is only that.
# The window stands in each scan as a value of its own, so that the planner prunes the partitions outside it.
# feeds_of (models/schema/sessions.py) melts overlapping feeds of one pair into spans: nothing is counted twice.
_ALONE = """
with feeds as materialized (
  select *, {is_scanned} as is_scanned from feeds_of(%(vehicle_id)s, %(start)s, %(end)s)
),
span as (
  select unnest(meters) as meter_id, unnest(starts) as starts, unnest(ends) as ends from feeds where is_scanned
),
fed as (
  select coalesce(array_agg(meter_id order by meter_id), '{{}}') as meters,
         coalesce(array_agg(kwh order by meter_id), '{{}}') as meters_kwh,
         coalesce(array_agg(points order by meter_id), '{{}}') as meters_points,
         coalesce(array_agg(false), '{{}}') as meters_shared, coalesce(sum(implausible), 0) as implausible
  from (
    select span.meter_id, coalesce(sum(metered.kwh), 0) as kwh, sum(metered.points)::int8 as points,
           sum(metered.implausible) as implausible
    from span cross join lateral (
      select sum({kwh}) as kwh, count(*) as points, {implausible} as implausible from {of_meter} as reading
    ) as metered
    group by span.meter_id
  ) as meter
),
vehicle as (
  select coalesce(sum({kwh}), 0) as dc_kwh, avg(battery_temp) as temperature, count(*) as vehicle_points,
         {implausible} as implausible
  from {of_vehicle} as reading
)
select
  feeds.shared as is_shared, feeds.plain as is_plain,
  exists (select from vehicle_readings_live where vehicle_id = %(vehicle_id)s) as known,
  coalesce(feeds.heartbeat_seconds, %(heartbeat_seconds)s)::int as heartbeat_seconds,
  vehicle.dc_kwh, vehicle.temperature, vehicle.vehicle_points,
  fed.meters, fed.meters_kwh, fed.meters_points, fed.meters_shared,
  (vehicle.implausible + fed.implausible)::int8 as implausible
from feeds, vehicle, fed
"""
_OF_METER = (METER, "span.meter_id", ["%(start)s", "span.starts"], ["%(end)s", "span.ends"])
_OF_VEHICLE = (VEHICLE, "%(vehicle_id)s", ["%(start)s"], ["%(end)s"], ["battery_temp"])
PLAIN_PERFORMANCE = _ALONE.format(
    is_scanned="plain and not shared",
    of_meter=instants(*_OF_METER),
    of_vehicle=instants(*_OF_VEHICLE, more="(select is_scanned from feeds)"),
    kwh="value",
    implausible="0",
)
COUNTED_PERFORMANCE = _ALONE.format(
    is_scanned="not shared",
    of_meter=increments(*_OF_METER),
    of_vehicle=increments(*_OF_VEHICLE),
    kwh="kwh",
    implausible="count(*) filter (where implausible)",
)

# For any number of vehicles, whatever they share.
PERFORMANCES = f"""
{ATTRIBUTED},
metered as (
  select number, meter_id, sum(kwh) as kwh, count(*) as points, count(*) filter (where implausible) as implausible
  from attributed group by 1, 2
),
fed as (
  select number, array_agg(meter_id order by meter_id) as meters, array_agg(shared order by meter_id) as shared,
         array_agg(coalesce(kwh, 0) order by meter_id) as kwh,
         array_agg(coalesce(points, 0) order by meter_id) as points,
         coalesce(sum(implausible), 0) as implausible
  from (select number, meter_id, bool_or(shared) as shared from span group by 1, 2) as fed_by
  left join metered using (number, meter_id)
  group by number
)
select
  exists (select from vehicle_readings_live as live where live.vehicle_id = query.vehicle_id) as known,
  coalesce((select heartbeat_seconds from devices where kind = 'vehicle' and device_id = query.vehicle_id),
           %(heartbeat_seconds)s)::int as heartbeat_seconds,
  vehicle.dc as dc_kwh, vehicle.temperature, vehicle.points as vehicle_points,
  coalesce(fed.meters, '{{}}') as meters, coalesce(fed.kwh, '{{}}') as meters_kwh,
  coalesce(fed.points, '{{}}') as meters_points, coalesce(fed.shared, '{{}}') as meters_shared,
  (vehicle.implausible + coalesce(fed.implausible, 0))::int8 as implausible
from query
cross join lateral (
  select coalesce(sum(kwh), 0) as dc, avg(battery_temp) as temperature, count(*) as points,
         count(*) filter (where implausible) as implausible
  from {
    increments(VEHICLE, "query.vehicle_id", ["%(start)s", "query.starts"], ["%(end)s", "query.ends"], ["battery_temp"])
} as increment
) as vehicle
left join fed using (number)
order by query.number
"""


def get_performance(
    connection: psycopg.Connection, vehicle_id: str, start: datetime, end: datetime, *, heartbeat_seconds: int
) -> Performance:
    """The vehicle's performance in [start, end); AC is that of the meters that fed it, while they did.

    `heartbeat_seconds` is that of devices without one of their own.
    """
    values = {"vehicle_id": vehicle_id, "start": start, "end": end, "heartbeat_seconds": heartbeat_seconds}
    alone = connection.cursor(row_factory=class_row(_Alone))
    found = alone.execute(PLAIN_PERFORMANCE, values).fetchone()
    if not found.is_plain and not found.is_shared:
        found = alone.execute(COUNTED_PERFORMANCE, values).fetchone()
    if found.is_shared:  # or became so between the two
        queries = [EnergyQuery(vehicle_id, start, end)]
        return get_performances(connection, queries, heartbeat_seconds=heartbeat_seconds)[0]
    return found


@dataclass(frozen=True)
class _Alone(Performance):
    """Holds where `is_shared` is false."""

    is_shared: bool
    is_plain: bool


def get_performances(
    connection: psycopg.Connection, queries: Sequence[EnergyQuery], *, heartbeat_seconds: int
) -> list[Performance]:
    """The performance of each vehicle in its own window, in the order of the queries: all in one statement."""
    if not queries:
        return []
    values = query_values(queries, heartbeat_seconds)
    return connection.cursor(row_factory=class_row(Performance)).execute(PERFORMANCES, values).fetchall()
