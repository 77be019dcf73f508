-- Performance of a vehicle whose meters feed no other, with any registers: energy is the sum of increments. For a
-- vehicle on a shared meter no history is read, and is_shared of the row is true.
\set vehicle_id V0001
\set start '2026-02-10 00:00Z'
\set end '2026-02-11 00:00Z'
\set heartbeat_seconds 60
with
feeds as materialized (
  select * from feeds_of(:'vehicle_id', :'start', :'end')
),
span as (
  select unnest(meters) as meter_id, unnest(starts) as starts, unnest(ends) as ends from feeds where not shared
),
-- The energy of each meter in its spans.
metered as (
  select span.meter_id, coalesce(sum(counted.kwh), 0) as kwh, sum(counted.points)::int8 as points,
         sum(counted.implausible) as implausible
  from span cross join lateral (
    select sum(kwh) as kwh, count(*) as points, count(*) filter (where implausible) as implausible
    from meter_increments(span.meter_id, :'start', :'end', span.starts, span.ends, :'heartbeat_seconds')
  ) as counted
  group by span.meter_id
),
fed as (
  select coalesce(array_agg(meter_id order by meter_id), '{}') as meters,
         coalesce(array_agg(kwh order by meter_id), '{}') as meters_kwh,
         coalesce(array_agg(points order by meter_id), '{}') as meters_points,
         coalesce(array_agg(false), '{}') as meters_shared, coalesce(sum(implausible), 0) as implausible
  from metered
),
vehicle as (
  select coalesce(sum(kwh), 0) as dc_kwh, avg(battery_temp) as temperature, count(*) as vehicle_points,
         count(*) filter (where implausible) as implausible
  from vehicle_increments(:'vehicle_id', :'start', :'end', :'start', :'end', :'heartbeat_seconds')
)
select feeds.shared as is_shared, feeds.plain as is_plain,
       exists (select from vehicle_readings_live where vehicle_id = :'vehicle_id') as known,
       coalesce(feeds.heartbeat_seconds, :'heartbeat_seconds')::int as heartbeat_seconds,
       vehicle.dc_kwh, vehicle.temperature, vehicle.vehicle_points,
       fed.meters, fed.meters_kwh, fed.meters_points, fed.meters_shared,
       (vehicle.implausible + fed.implausible)::int8 as implausible
from feeds, vehicle, fed;
