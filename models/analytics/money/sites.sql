-- The sites of the meters that fed one of these vehicles in [start, end). By the keys of the feeds and of `devices`.
\set vehicle_ids '{V0001}'
\set start '2026-02-10 00:00Z'
\set end '2026-02-11 00:00Z'
select distinct site
from vehicle_feeds as feed join devices on devices.kind = 'meter' and devices.device_id = feed.meter_id
where feed.vehicle_id = any(:'vehicle_ids'::text[]) and feed.valid_from < :'end' and feed.valid_to > :'start'
  and site is not null;
