-- Rule `battery_temperature`: the newest reading of a vehicle is above the bound (°C), however old it is, or any
-- reading of the watermark's hour or the hour before. So no peak between two evaluations is missed, and a vehicle that
-- stops sending while its battery is hot keeps its alert.
\set battery_temp 60
with
recent as (
  select vehicle_id, max(battery_temp_max) as hottest
  from rollup_state cross join lateral (
    select vehicle_id, battery_temp_max from vehicle_hourly
    where hour >= date_trunc('hour', rolled_until, 'UTC') - interval '1 hour') as hours
  group by vehicle_id
)
select 'vehicle' as device_kind, vehicle_id as device_id,
       case when greatest(battery_temp, hottest) > :'battery_temp' then 'bad' else 'good' end as verdict,
       greatest(battery_temp, hottest) as value, :'battery_temp'::float8 as bound,
       jsonb_build_object('newest', battery_temp, 'timestamp', rfc3339(recorded_at)) as detail
from vehicle_readings_live left join recent using (vehicle_id);
