-- Adds the hour of the first instant after a stale hour, before `until`, for meters that are not plain: its increment
-- is the difference to the instant before. By meter_readings_history_covering.
\set since '2026-02-10 00:00Z'
\set until '2026-02-11 00:00Z'
insert into stale_meter_hours (device_id, hour)
select distinct stale.device_id, date_trunc('hour', next_instant.recorded_at, 'UTC')
from stale_meter_hours as stale
join devices on devices.kind = 'meter' and devices.device_id = stale.device_id
  and not is_plain(devices.register, devices.rated_power_kw)
cross join lateral (
  select recorded_at from meter_readings_history
  where meter_id = stale.device_id and recorded_at >= stale.hour + interval '1 hour'
    and recorded_at >= :'since' and recorded_at < :'until'
  order by recorded_at limit 1
) as next_instant
on conflict do nothing;
