-- The share of a stale vehicle-hour in a meter that fed this vehicle alone, and for the whole hour: all of its energy.
-- So it is for most. And the share in a meter without a reading: none. The bounds [since, before) hold all stale hours:
-- constants, for the planner's estimates. Feeds from `end` on are not rolled up yet.
\set since '2026-02-10 00:00Z'
\set before '2026-02-10 01:00Z'
\set end '2026-02-10 00:30Z'
insert into vehicle_shares (device_id, hour, meter_id, kwh, readings)
select distinct stale.device_id, stale.hour, feed.meter_id, rolled.kwh, rolled.readings
from stale_vehicle_hours as stale
join vehicle_feeds as feed on feed.vehicle_id = stale.device_id
  and feed.valid_from <= stale.hour and feed.valid_to >= stale.hour + interval '1 hour'
  and feed.valid_from < :'before' and feed.valid_to > :'since'
join meter_hourly as rolled on rolled.meter_id = feed.meter_id and rolled.hour = stale.hour
where not exists (
  select from vehicle_feeds as other
  where other.meter_id = feed.meter_id and other.vehicle_id <> feed.vehicle_id
    and other.valid_from < stale.hour + interval '1 hour' and other.valid_to > stale.hour
    and other.valid_from < :'before' and other.valid_to > :'since')
union all
select distinct stale.device_id, stale.hour, feed.meter_id, 0, 0
from stale_vehicle_hours as stale
join vehicle_feeds as feed on feed.vehicle_id = stale.device_id
  and feed.valid_from < stale.hour + interval '1 hour' and feed.valid_to > stale.hour
  and feed.valid_from < :'end' and feed.valid_to > :'since'
where not exists (
  select from meter_hourly as rolled where rolled.meter_id = feed.meter_id and rolled.hour = stale.hour);
