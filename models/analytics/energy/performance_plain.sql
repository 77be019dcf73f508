-- Performance of a vehicle whose meters feed no other and whose registers are plain, as of nearly all: energy is the
-- sum of values. For any other vehicle no history is read, and is_shared or is_plain of the row shows why.
\set vehicle_id V0001
\set start '2026-02-10 00:00Z'
\set end '2026-02-11 00:00Z'
\set heartbeat_seconds 60
with
-- What feeds the vehicle, and whether this statement is enough for it.
feeds as materialized (
  select *, plain and not shared as is_enough from feeds_of(:'vehicle_id', :'start', :'end')
),
span as (
  select unnest(meters) as meter_id, unnest(starts) as starts, unnest(ends) as ends from feeds where is_enough
),
-- The instants of each span: each recorded_at once, the last accepted reading counts (meter_instants, written out: it
-- saves the planner 0.1 ms). The planner prunes partitions by the window's constants. Index-only, by
-- meter_readings_history_covering.
metered as (
  select span.meter_id, coalesce(sum(counted.kwh), 0) as kwh, sum(counted.points)::int8 as points
  from span cross join lateral (
    select sum(kwh) as kwh, count(*) as points
    from (
      select distinct on (recorded_at) kwh_consumed_ac as kwh from meter_readings_history
      where meter_id = span.meter_id and recorded_at >= :'start' and recorded_at >= span.starts
        and recorded_at < :'end' and recorded_at < span.ends
      order by recorded_at desc, received_at desc
    ) as instant
  ) as counted
  group by span.meter_id
),
fed as (
  select coalesce(array_agg(meter_id order by meter_id), '{}') as meters,
         coalesce(array_agg(kwh order by meter_id), '{}') as meters_kwh,
         coalesce(array_agg(points order by meter_id), '{}') as meters_points,
         coalesce(array_agg(false), '{}') as meters_shared
  from metered
),
-- Index-only, by vehicle_readings_history_covering.
vehicle as (
  select coalesce(sum(kwh), 0) as dc_kwh, avg(battery_temp) as temperature, count(*) as vehicle_points
  from (
    select distinct on (recorded_at) kwh_delivered_dc as kwh, battery_temp from vehicle_readings_history
    where vehicle_id = :'vehicle_id' and recorded_at >= :'start' and recorded_at < :'end'
      and (select is_enough from feeds)
    order by recorded_at desc, received_at desc
  ) as instant
)
select feeds.shared as is_shared, feeds.plain as is_plain,
       exists (select from vehicle_readings_live where vehicle_id = :'vehicle_id') as known,
       coalesce(feeds.heartbeat_seconds, :'heartbeat_seconds')::int as heartbeat_seconds,
       vehicle.dc_kwh, vehicle.temperature, vehicle.vehicle_points,
       fed.meters, fed.meters_kwh, fed.meters_points, fed.meters_shared, 0 as implausible
from feeds, vehicle, fed;
