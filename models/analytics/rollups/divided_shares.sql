-- The shares of these vehicle-hours, each a query of one hour and one meter (energy/performances.sql has the values).
\set vehicle_ids '{V0001}'
\set meter_ids '{M0001}'
\set starts '{2026-02-10 00:00Z}'
\set ends '{2026-02-10 01:00Z}'
\set start '2026-02-10 00:00Z'
\set end '2026-02-10 01:00Z'
\set first_hour '2026-02-10 00:00Z'
\set last_hour '2026-02-10 02:00Z'
\set heartbeat_seconds 60
with
span as materialized (
  select * from fed_spans(:'vehicle_ids'::text[], :'meter_ids'::text[], :'starts'::timestamptz[],
    :'ends'::timestamptz[], :'first_hour', :'last_hour', :'heartbeat_seconds')
),
share as (
  select span.number, sum(increment.kwh) as kwh, count(*) as readings
  from span
  cross join lateral attributed_increments(span.meter_id, :'start', :'end', span.starts, span.ends, span.edges,
    span.shares, :'heartbeat_seconds') as increment
  group by span.number
),
fed as (
  select distinct number, vehicle_id, meter_id, date_trunc('hour', starts, 'UTC') as hour from span
)
insert into vehicle_shares (device_id, hour, meter_id, kwh, readings)
select fed.vehicle_id, fed.hour, fed.meter_id, coalesce(share.kwh, 0), coalesce(share.readings, 0)
from fed left join share using (number);
