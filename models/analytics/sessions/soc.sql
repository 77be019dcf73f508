-- The first and the last state of charge that each vehicle reported in its own window, one row each, in the order of
-- the arrays. By vehicle_readings_history_covering, from either end, no further than the first instant with one.
\set vehicle_ids '{V0001}'
\set starts '{2026-02-10 00:00Z}'
\set ends '{2026-02-11 00:00Z}'
\set start '2026-02-10 00:00Z'
\set end '2026-02-11 00:00Z'
select first.soc as first, last.soc as last
from unnest(:'vehicle_ids'::text[], :'starts'::timestamptz[], :'ends'::timestamptz[])
  with ordinality as query (vehicle_id, starts, ends, place)
left join lateral (
  select soc
  from (
    select distinct on (recorded_at) recorded_at, soc from vehicle_readings_history
    where vehicle_id = query.vehicle_id and recorded_at >= :'start' and recorded_at < :'end'
      and recorded_at >= query.starts and recorded_at < query.ends
    order by recorded_at, received_at desc
  ) as oldest_first
  where soc is not null order by recorded_at limit 1
) as first on true
left join lateral (
  select soc from vehicle_instants(query.vehicle_id, :'start', :'end', query.starts, query.ends)
  where soc is not null order by recorded_at desc limit 1
) as last on true
order by place;
