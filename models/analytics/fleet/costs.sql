-- Energy of vehicle-hours by the site and hour whose price it has, in units (of billionths of a kWh), in which sums are
-- exact. Vehicle-hours in which the price changes (changing_hours.sql) are left out. :binding is a condition on
-- vehicle_id: which vehicles may be seen.
\set start '2026-02-10 00:00Z'
\set end '2026-02-11 00:00Z'
\set sites '{depot}'
\set changing_vehicles '{V0001}'
\set changing_hours '{2026-02-10 05:00Z}'
\set binding true
select site, hour, sum((ac_kwh * 1e9)::int8) as ac_units, sum((dc_kwh * 1e9)::int8) as dc_units
from fed_hours(:'start', :'end', :'sites'::text[])
where :binding and (vehicle_id, hour) not in (
  select * from unnest(:'changing_vehicles'::text[], :'changing_hours'::timestamptz[]))
group by site, hour;
