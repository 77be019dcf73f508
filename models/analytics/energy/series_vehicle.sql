-- A vehicle's buckets, like those of series_meter.sql; the means are of battery temperature and state of charge.
\set device V0001
\set starts '{2026-02-10 00:00Z,2026-02-10 01:00Z}'
\set ends '{2026-02-10 01:00Z,2026-02-10 02:00Z}'
\set start '2026-02-10 00:00Z'
\set end '2026-02-10 02:00Z'
\set heartbeat_seconds 60
with
rolled as materialized (
  select * from rolled_up_hours('vehicle', :'device', :'starts'::timestamptz[], :'ends'::timestamptz[])
),
span as (
  select unnest(tstzmultirange(tstzrange(:'start', :'end')) - during) as during from rolled
),
part as (
  select width_bucket(recorded_at, :'starts'::timestamptz[]) as place, kwh, 1 as readings,
         implausible::int as implausible, battery_temp as battery_temp_sum,
         soc as soc_sum, (soc is not null)::int as soc_readings
  from span cross join lateral vehicle_increments(:'device', :'start', :'end', lower(span.during), upper(span.during),
    :'heartbeat_seconds')
  union all
  select width_bucket(hour, :'starts'::timestamptz[]), kwh, readings, implausible, battery_temp_sum, soc_sum,
         soc_readings
  from vehicle_hourly cross join rolled
  where vehicle_id = :'device' and hour >= :'start' and hour < :'end' and hour <@ rolled.during
),
bucket as (
  select place, sum(kwh) as kwh, sum(readings)::int as readings, sum(implausible)::int as implausible,
         array[sum(battery_temp_sum) / nullif(sum(readings), 0),
               sum(soc_sum) / nullif(sum(soc_readings), 0)] as averages
  from part group by place
)
select case when not isempty(rolled.during) then rolled.watermark end as watermark, bucket.*
from rolled left join bucket on true;
