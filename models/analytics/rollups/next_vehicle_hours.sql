-- The same as next_meter_hours.sql, for vehicles. By vehicle_readings_history_covering.
\set since '2026-02-10 00:00Z'
\set until '2026-02-11 00:00Z'
insert into stale_vehicle_hours (device_id, hour)
select distinct stale.device_id, date_trunc('hour', next_instant.recorded_at, 'UTC')
from stale_vehicle_hours as stale
join devices on devices.kind = 'vehicle' and devices.device_id = stale.device_id
  and not is_plain(devices.register, devices.rated_power_kw)
cross join lateral (
  select recorded_at from vehicle_readings_history
  where vehicle_id = stale.device_id and recorded_at >= stale.hour + interval '1 hour'
    and recorded_at >= :'since' and recorded_at < :'until'
  order by recorded_at limit 1
) as next_instant
on conflict do nothing;
