-- Rule `silent`: a device's newest reading was recorded longer ago than the bound (seconds), or than two of the
-- device's heartbeats, its own or the default, if that is longer. While ingest stands still, and until devices had the time to report again, no
-- device is found silent.
\set now '2026-02-10 10:30Z'
\set silent_seconds 3600
\set heartbeat 60
\set can_tell_silence true
with
newest as (
  select 'meter' as device_kind, meter_id as device_id, recorded_at from meter_readings_live
  union all
  select 'vehicle', vehicle_id, recorded_at from vehicle_readings_live
),
device as (
  select newest.*, extract(epoch from :'now' - recorded_at)::float8 as seconds,
         greatest(:'silent_seconds', 2 * coalesce(d.heartbeat_seconds, :'heartbeat'))::float8 as bound
  from newest left join devices as d on (d.kind, d.device_id) = (newest.device_kind, newest.device_id)
)
select device_kind, device_id,
       case when seconds <= bound then 'good' when :'can_tell_silence'::boolean then 'bad' else 'near' end as verdict,
       seconds as value, bound, jsonb_build_object('lastSeen', rfc3339(recorded_at)) as detail
from device;
