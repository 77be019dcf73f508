-- Rule `efficiency`: a vehicle's efficiency in the last day is below the threshold (percent). No verdict of a day with
-- little energy or completeness: while the vehicle sent nothing, energy that its meter counted looks lost. An implausible
-- efficiency resolves no alert.
\set threshold 85
\set hysteresis 2
\set min_kwh 1
\set min_completeness 0.5
\set heartbeat 60
with
-- The last day, as the fleet's window of 24 hours: from a full hour to the watermark.
day as (
  select date_trunc('hour', rolled_until, 'UTC') - interval '24 hours' as starts, rolled_until as ends
  from rollup_state
),
vehicle as (
  select day.starts, day.ends, total.vehicle_id, total.ac_kwh, total.dc_kwh,
         efficiency_percent(total.dc_kwh, total.ac_kwh) as percent,
         completeness(total.readings, extract(epoch from ends - starts)::float8, total.heartbeat_seconds)
           as completeness
  from day cross join lateral vehicle_totals(day.starts, day.ends, :'heartbeat') as total
)
select 'vehicle' as device_kind, vehicle_id as device_id,
       case when percent < :'threshold' then 'bad'
            when percent between least(:'threshold'::float8 + :'hysteresis', 100) and 100 then 'good'
            else 'near' end as verdict,
       percent::float8 as value, :'threshold'::float8 as bound,
       jsonb_build_object('from', rfc3339(starts), 'to', rfc3339(ends),
                          'acConsumption', round(ac_kwh::numeric, 6), 'dcDelivery', round(dc_kwh::numeric, 6),
                          'completeness', round(completeness::numeric, 4)) as detail
from vehicle
where percent is not null and round(ac_kwh::numeric, 6) >= :'min_kwh' and completeness >= :'min_completeness';
