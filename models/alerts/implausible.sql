-- Rule `implausible`: a device has implausible readings in the last day. A device with an alert and without such a
-- reading is good.
with
-- The last day, as the fleet's window of 24 hours: from a full hour to the watermark.
day as (
  select date_trunc('hour', rolled_until, 'UTC') - interval '24 hours' as starts, rolled_until as ends
  from rollup_state
),
-- By meter_hourly_hour and vehicle_hourly_hour.
counted as (
  select device_kind, device_id, sum(implausible)::float8 as readings, min(starts) as starts, min(ends) as ends
  from day cross join lateral (
    select 'meter' as device_kind, meter_id as device_id, implausible from meter_hourly
    where hour >= starts and hour < ends and implausible > 0
    union all
    select 'vehicle', vehicle_id, implausible from vehicle_hourly
    where hour >= starts and hour < ends and implausible > 0) as hours
  group by device_kind, device_id
)
select device_kind, device_id, 'bad' as verdict, readings as value, 0::float8 as bound,
       jsonb_build_object('from', rfc3339(starts), 'to', rfc3339(ends)) as detail
from counted
union all
select device_kind, device_id, 'good', 0, 0, jsonb_build_object('from', rfc3339(starts), 'to', rfc3339(ends))
from day cross join (
  select device_kind, device_id from alerts
  where kind = 'implausible' and state <> 'resolved' and device_kind <> 'fleet'
  union all select device_kind, device_id from alert_group_members where kind = 'implausible') as alerted
where starts is not null
  and (device_kind, device_id) not in (select device_kind, device_id from counted);
