"""Energy in, energy out and battery temperature of one vehicle over a window, from the indexed history."""

from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

# One index-only range scan of each history's covering index, for the vehicle and for each span of each meter.
# An instant counts once: the submission accepted last (received_at) stands for it.
# The window stands in each scan as a value of its own, so that the planner prunes the partitions outside it.
# range_agg melts overlapping mappings of one pair into spans that do not overlap: nothing is counted twice.
PERFORMANCE = """
with vehicle as (
  select coalesce(sum(kwh_delivered_dc), 0) as dc, avg(battery_temp) as temperature, count(*) as points
  from (select distinct on (recorded_at) kwh_delivered_dc, battery_temp
        from vehicle_readings_history
        where vehicle_id = %(vehicle_id)s and recorded_at >= %(start)s and recorded_at < %(end)s
        order by recorded_at desc, received_at desc) as instant
),
span as (
  select meter_id, unnest(range_agg(tstzrange(valid_from, valid_to))) as during
  from vehicle_meter_mapping
  where vehicle_id = %(vehicle_id)s and valid_from < %(end)s and valid_to > %(start)s
  group by meter_id
),
fed as (
  select span.meter_id, metered.kwh, metered.points
  from span cross join lateral (
    select sum(kwh_consumed_ac) as kwh, count(*) as points
    from (select distinct on (recorded_at) kwh_consumed_ac
          from meter_readings_history
          where meter_id = span.meter_id and recorded_at >= %(start)s and recorded_at < %(end)s
            and recorded_at >= lower(span.during) and recorded_at < upper(span.during)
          order by recorded_at desc, received_at desc) as instant
  ) as metered
)
select
  exists (select from vehicle_readings_live where vehicle_id = %(vehicle_id)s) as known,
  (select coalesce(array_agg(distinct meter_id), '{}') from fed) as meters,
  (select coalesce(sum(kwh), 0) from fed) as ac_kwh,
  (select coalesce(sum(points), 0)::int8 from fed) as meter_points,
  vehicle.dc as dc_kwh, vehicle.temperature, vehicle.points as vehicle_points
from vehicle
"""


@dataclass(frozen=True)
class Performance:
    """Energy in kWh, temperature in °C; points are distinct instants. `temperature` is None without a reading."""

    known: bool
    meters: list[str]
    ac_kwh: float
    meter_points: int
    dc_kwh: float
    temperature: float | None
    vehicle_points: int

    @property
    def efficiency(self) -> float | None:
        """DC/AC; None where no AC energy was measured."""
        return self.dc_kwh / self.ac_kwh if self.ac_kwh > 0 else None


def get_performance(connection: psycopg.Connection, vehicle_id: str, start: datetime, end: datetime) -> Performance:
    """The vehicle's performance in [start, end); AC is that of its mapped meters, each within its mapping's time."""
    values = {"vehicle_id": vehicle_id, "start": start, "end": end}
    return connection.cursor(row_factory=class_row(Performance)).execute(PERFORMANCE, values).fetchone()
