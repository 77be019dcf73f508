-- Recomputes the stale meter-hours from the readings in [since, end): constants by which the planner prunes partitions.
-- The sums are made inside the lateral: one meter-hour at a time, straight from meter_readings_history_covering.
\set since '2026-02-10 00:00Z'
\set end '2026-02-10 00:30Z'
\set heartbeat_seconds 60
insert into meter_hourly as rolled (meter_id, hour, kwh, voltage_sum, readings, implausible)
select stale.device_id, stale.hour, kwh, voltage_sum, readings, implausible
from stale_meter_hours as stale
cross join lateral (
  select sum(kwh) as kwh, sum(voltage) as voltage_sum, count(*) as readings,
         count(*) filter (where implausible) as implausible
  from meter_increments(stale.device_id, :'since', :'end', stale.hour,
    stale.hour + interval '1 hour', :'heartbeat_seconds')
) as own
where readings > 0
on conflict (meter_id, hour) do update set kwh = excluded.kwh, voltage_sum = excluded.voltage_sum,
  readings = excluded.readings, implausible = excluded.implausible;
