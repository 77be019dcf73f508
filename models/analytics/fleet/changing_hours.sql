-- Vehicle-hours in which the price changes at the site of a meter that fed the vehicle, oldest first. :binding is a condition on vehicle_id:
-- which vehicles may be seen.
\set start '2026-02-10 00:00Z'
\set end '2026-02-11 00:00Z'
\set sites '{depot}'
\set changing_sites '{depot}'
\set changing_hours '{2026-02-10 05:00Z}'
\set limit 2001
\set binding true
select distinct vehicle_id, hour
from fed_hours(:'start', :'end', :'sites'::text[])
where :binding and (site, hour) in (
  select * from unnest(:'changing_sites'::text[], :'changing_hours'::timestamptz[]))
order by hour limit :'limit';
