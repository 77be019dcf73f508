-- Energy of vehicle-hours by the site and hour whose price it has, in units (of billionths of a kWh), in which sums are
-- exact: AC energy, and the DC energy that the first meter by id prices. Hours in which the price changes are left
-- out (changing_hours.sql). :binding is a condition on vehicle_id: which vehicles may be seen.
\set start '2026-02-10 00:00Z'
\set end '2026-02-11 00:00Z'
\set sites '{depot}'
\set changing_sites '{depot}'
\set changing_hours '{2026-02-10 05:00Z}'
\set binding true
with
changing as materialized (
  select * from unnest(:'changing_sites'::text[], :'changing_hours'::timestamptz[]) as changing (site, hour)
)
select site, hour, sum((ac_kwh * 1e9)::int8) as ac_units,
       coalesce(sum((dc_kwh * 1e9)::int8) filter (where is_first), 0) as dc_units
from fed_hours(:'start', :'end', :'sites'::text[])
where :binding and (site, hour) not in (select site, hour from changing)
group by site, hour;
