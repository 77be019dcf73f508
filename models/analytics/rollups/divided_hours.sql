-- The stale vehicle-hours with a meter that fed the vehicle, but not it alone or not for the whole hour.
\set since '2026-02-10 00:00Z'
\set before '2026-02-10 01:00Z'
select distinct stale.device_id as vehicle_id, stale.hour, feed.meter_id
from stale_vehicle_hours as stale
join vehicle_feeds as feed on feed.vehicle_id = stale.device_id
  and feed.valid_from < stale.hour + interval '1 hour' and feed.valid_to > stale.hour
  and feed.valid_from < :'before' and feed.valid_to > :'since'
join meter_hourly as rolled on rolled.meter_id = feed.meter_id and rolled.hour = stale.hour
where not exists (
  select from vehicle_shares as share
  where share.device_id = stale.device_id and share.hour = stale.hour and share.meter_id = feed.meter_id);
