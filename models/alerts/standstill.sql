-- The longest time in [since_ms, until_ms) in which nothing was stored, of any device, and the number of devices that
-- ever sent a reading, counted up to `device_limit` of each kind. The number of a batch holds the time of its last
-- entry (models/stream/entry_ids.py). By primary key.
\set since_ms 1770715800000
\set until_ms 1770719400000
\set last_shard 99
\set device_limit 11
with
stored as (
  select last_entry >> 20 as ms
  from generate_series(0, :'last_shard'::int) as shards (shard)
  cross join lateral (
    select last_entry from ingest_batches as batch
    where batch.shard = shards.shard and last_entry >= :'since_ms'::int8 << 20) as batch
  union all values (:'since_ms'::int8), (:'until_ms'::int8)
),
gap as (select ms - lag(ms) over (order by ms) as ms from stored)
select (select max(ms) / 1000.0 from gap)::float8 as gap_seconds,
       (select count(*) from (select from meter_readings_live limit :'device_limit') as meters)
       + (select count(*) from (select from vehicle_readings_live limit :'device_limit') as vehicles) as devices;
