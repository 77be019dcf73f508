-- The hours of [start, end), a full hour and the watermark, in which a vehicle had a reading or was fed, ascending.
-- Fed is a vehicle that a meter fed in any of the hours, so that hours add up to the totals. :binding is a condition
-- on vehicle_id: which vehicles may be seen. By vehicle_hourly_hour.
\set start '2026-02-10 00:00Z'
\set end '2026-02-11 00:00Z'
\set binding true
with
unmetered as materialized (
  select vehicle_id from vehicle_hourly where hour >= :'start' and hour < :'end' and :binding
  group by vehicle_id having sum(fed_readings) = 0
)
select hour as start, least(hour + interval '1 hour', :'end') as "end", sum(ac_kwh) as ac_kwh,
       coalesce(sum(kwh) filter (where unmetered.vehicle_id is null), 0) as dc_kwh,
       coalesce(sum(kwh) filter (where unmetered.vehicle_id is not null), 0) as unmetered_dc_kwh,
       sum(readings)::int8 as readings, count(*) as vehicles, sum(implausible)::int8 as implausible
from vehicle_hourly as rolled left join unmetered using (vehicle_id)
where hour >= :'start' and hour < :'end' and :binding
group by hour order by hour;
