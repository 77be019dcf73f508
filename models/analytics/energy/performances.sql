-- Performance of any number of vehicles, each in a window of its own, whatever they share: one row each, in their
-- order. The arrays are the queries; meter_ids: null for all meters of the vehicle. [start, end) holds all windows and
-- [first_hour, last_hour) all of their hours: constants, by which the planner prunes partitions.
\set vehicle_ids '{V0001,V0002}'
\set meter_ids '{NULL,NULL}'
\set starts '{2026-02-10 00:00Z,2026-02-10 00:00Z}'
\set ends '{2026-02-11 00:00Z,2026-02-10 12:00Z}'
\set start '2026-02-10 00:00Z'
\set end '2026-02-11 00:00Z'
\set first_hour '2026-02-10 00:00Z'
\set last_hour '2026-02-11 01:00Z'
\set heartbeat_seconds 60
with
query as (
  select place - 1 as number, q.vehicle_id, q.starts, q.ends
  from unnest(:'vehicle_ids'::text[], :'starts'::timestamptz[], :'ends'::timestamptz[])
    with ordinality as q (vehicle_id, starts, ends, place)
),
span as materialized (
  select * from fed_spans(:'vehicle_ids'::text[], :'meter_ids'::text[], :'starts'::timestamptz[],
    :'ends'::timestamptz[], :'first_hour', :'last_hour', :'heartbeat_seconds')
),
-- The vehicle's share of each meter; a meter without a reading as well.
metered as (
  select span.number, span.meter_id, bool_or(span.shared) as shared, coalesce(sum(increment.kwh), 0) as kwh,
         count(increment.recorded_at) as points, count(*) filter (where increment.implausible) as implausible
  from span left join lateral attributed_increments(span.meter_id, :'start', :'end', span.starts, span.ends,
    span.edges, span.shares, :'heartbeat_seconds') as increment on true
  group by span.number, span.meter_id
),
fed as (
  select number, array_agg(meter_id order by meter_id) as meters, array_agg(kwh order by meter_id) as meters_kwh,
         array_agg(points order by meter_id) as meters_points, array_agg(shared order by meter_id) as meters_shared,
         sum(implausible) as implausible
  from metered group by number
)
select exists (select from vehicle_readings_live as live where live.vehicle_id = query.vehicle_id) as known,
       coalesce((select heartbeat_seconds from devices where kind = 'vehicle' and device_id = query.vehicle_id),
                :'heartbeat_seconds')::int as heartbeat_seconds,
       vehicle.dc_kwh, vehicle.temperature, vehicle.vehicle_points,
       coalesce(fed.meters, '{}') as meters, coalesce(fed.meters_kwh, '{}') as meters_kwh,
       coalesce(fed.meters_points, '{}') as meters_points, coalesce(fed.meters_shared, '{}') as meters_shared,
       (vehicle.implausible + coalesce(fed.implausible, 0))::int8 as implausible
from query
cross join lateral (
  select coalesce(sum(kwh), 0) as dc_kwh, avg(battery_temp) as temperature, count(*) as vehicle_points,
         count(*) filter (where implausible) as implausible
  from vehicle_increments(query.vehicle_id, :'start', :'end', query.starts, query.ends, :'heartbeat_seconds')
) as vehicle
left join fed using (number)
order by query.number;
