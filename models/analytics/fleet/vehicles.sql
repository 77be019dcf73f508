-- A page of vehicles in [start, end), which are a full hour and the watermark, in the order of :rank, ascending, and of
-- their ids; a rank of null comes last. :binding is a condition on vehicle_id: which vehicles may be seen; :filter is
-- one on a vehicle's status and on the place after which the page begins.
\set start '2026-02-10 00:00Z'
\set end '2026-02-11 00:00Z'
\set seconds 86400
\set threshold 85
\set heartbeat_seconds 60
\set limit 100
\set binding true
\set rank efficiency
\set filter true
with
vehicle as (
  select *, efficiency_status(dc_kwh, ac_kwh, :'threshold') as status,
         completeness(readings, :'seconds', heartbeat_seconds) as completeness,
         coalesce(:rank, 'infinity') as rank
  from vehicle_totals(:'start', :'end', :'heartbeat_seconds')
  where :binding
),
page as (
  select vehicle_id, ac_kwh, dc_kwh, efficiency, loss_kwh, temperature, temperature_max, readings, meter_readings,
         completeness, implausible, status, rank
  from vehicle where :filter
  order by rank, vehicle_id limit :'limit'
)
select *, is_shared(vehicle_id, :'start', :'end') as shared from page order by rank, vehicle_id;
