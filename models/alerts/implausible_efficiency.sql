-- Rule `implausible_efficiency`: a vehicle's efficiency in the last day is above 100 %, as its status `implausible`. No
-- verdict of a day with little DC energy.
\set min_kwh 1
\set heartbeat 60
with
-- The last day, as the fleet's window of 24 hours: from a full hour to the watermark.
day as (
  select date_trunc('hour', rolled_until, 'UTC') - interval '24 hours' as starts, rolled_until as ends
  from rollup_state
),
vehicle as (
  select day.starts, day.ends, total.vehicle_id, total.ac_kwh, total.dc_kwh,
         efficiency_percent(total.dc_kwh, total.ac_kwh) as percent
  from day cross join lateral vehicle_totals(day.starts, day.ends, :'heartbeat') as total
)
select 'vehicle' as device_kind, vehicle_id as device_id, case when percent > 100 then 'bad' else 'good' end as verdict,
       percent::float8 as value, 100::float8 as bound,
       jsonb_build_object('from', rfc3339(starts), 'to', rfc3339(ends),
                          'acConsumption', round(ac_kwh::numeric, 6), 'dcDelivery', round(dc_kwh::numeric, 6)) as detail
from vehicle
where percent is not null and round(dc_kwh::numeric, 6) >= :'min_kwh';
