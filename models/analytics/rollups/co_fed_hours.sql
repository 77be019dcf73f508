-- Adds the vehicle-hours that depend on a stale one: the vehicles that a stale meter feeds, and those that share a
-- meter with a stale vehicle, since the division depends on what it drew. [since, before) holds all stale hours.
\set since '2026-02-10 00:00Z'
\set before '2026-02-10 01:00Z'
insert into stale_vehicle_hours (device_id, hour)
select other.vehicle_id, stale.hour
from stale_vehicle_hours as stale
join vehicle_feeds as own on own.vehicle_id = stale.device_id
  and own.valid_from < stale.hour + interval '1 hour' and own.valid_to > stale.hour
  and own.valid_from < :'before' and own.valid_to > :'since'
join vehicle_feeds as other on other.meter_id = own.meter_id and other.vehicle_id <> own.vehicle_id
  and other.valid_from < stale.hour + interval '1 hour' and other.valid_to > stale.hour
  and other.valid_from < :'before' and other.valid_to > :'since'
union
select feed.vehicle_id, stale.hour
from stale_meter_hours as stale
join vehicle_feeds as feed on feed.meter_id = stale.device_id
  and feed.valid_from < stale.hour + interval '1 hour' and feed.valid_to > stale.hour
  and feed.valid_from < :'before' and feed.valid_to > :'since'
on conflict do nothing;
