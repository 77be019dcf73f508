-- The fleet in [start, end), which are a full hour and the watermark: one row. `worst` has the vehicles of the lowest
-- efficiencies, as JSON. :binding is a condition on vehicle_id: which vehicles may be seen.
\set start '2026-02-10 00:00Z'
\set end '2026-02-11 00:00Z'
\set seconds 86400
\set threshold 85
\set heartbeat_seconds 60
\set worst 10
\set binding true
with
-- Every vehicle with its verdict.
vehicle as (
  select *, efficiency_status(dc_kwh, ac_kwh, :'threshold') as status,
         completeness(readings, :'seconds', heartbeat_seconds) as completeness,
         :'seconds'::float8 / heartbeat_seconds as expected
  from vehicle_totals(:'start', :'end', :'heartbeat_seconds')
  where :binding
),
worst as (
  select vehicle_id, ac_kwh, dc_kwh, efficiency, loss_kwh, temperature, temperature_max, readings, meter_readings,
         completeness, implausible, status, efficiency as rank
  from vehicle where efficiency is not null
  order by efficiency, vehicle_id limit :'worst'
)
-- Readings of one vehicle beyond those expected do not make up for those of another.
select coalesce(sum(ac_kwh) filter (where meter_readings > 0), 0) as ac_kwh,
       coalesce(sum(dc_kwh) filter (where meter_readings > 0), 0) as dc_kwh,
       coalesce(sum(dc_kwh) filter (where meter_readings = 0), 0) as unmetered_dc_kwh,
       count(*) filter (where status = 'healthy') as healthy,
       count(*) filter (where status = 'degraded') as degraded,
       count(*) filter (where status = 'implausible') as implausible_vehicles,
       count(*) filter (where status = 'unknown') as unknown,
       coalesce(sum(readings), 0)::int8 as readings, coalesce(sum(implausible), 0)::int8 as implausible,
       sum(least(readings, expected)) / nullif(sum(expected), 0) as completeness,
       (select coalesce(jsonb_agg(to_jsonb(worst) || jsonb_build_object('shared', is_shared(vehicle_id, :'start', :'end'))
                                  order by rank, vehicle_id), '[]') from worst) as worst
from vehicle;
