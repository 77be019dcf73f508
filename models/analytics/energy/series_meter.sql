-- A meter's buckets [starts[n], ends[n]), of those with a reading: energy, readings and the mean voltage. Hours come
-- from the roll-ups where these equal history, all else from history. [start, end) is the whole window.
\set device M0001
\set starts '{2026-02-10 00:00Z,2026-02-10 01:00Z}'
\set ends '{2026-02-10 01:00Z,2026-02-10 02:00Z}'
\set start '2026-02-10 00:00Z'
\set end '2026-02-10 02:00Z'
\set heartbeat_seconds 60
with
rolled as materialized (
  select * from rolled_up_hours('meter', :'device', :'starts'::timestamptz[], :'ends'::timestamptz[])
),
-- The rest of the window; the planner prunes partitions by the window's constants.
span as (
  select unnest(tstzmultirange(tstzrange(:'start', :'end')) - during) as during from rolled
),
part as (
  select width_bucket(recorded_at, :'starts'::timestamptz[]) as place, kwh, 1 as readings,
         implausible::int as implausible, voltage as voltage_sum
  from span cross join lateral meter_increments(:'device', :'start', :'end', lower(span.during), upper(span.during),
    :'heartbeat_seconds')
  union all
  select width_bucket(hour, :'starts'::timestamptz[]), kwh, readings, implausible, voltage_sum
  from meter_hourly cross join rolled
  where meter_id = :'device' and hour >= :'start' and hour < :'end' and hour <@ rolled.during
),
bucket as (
  select place, sum(kwh) as kwh, sum(readings)::int as readings, sum(implausible)::int as implausible,
         array[sum(voltage_sum) / nullif(sum(readings), 0)] as averages
  from part group by place
)
select case when not isempty(rolled.during) then rolled.watermark end as watermark, bucket.*
from rolled left join bucket on true;
