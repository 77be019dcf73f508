-- The cost of the energy of any number of queries, by query and site: units (of billionths of a kWh) of AC energy, and
-- the money for the AC energy and for the DC energy, both in units * price. The queries are those of
-- energy/performances.sql; sites, band_starts and band_prices are the prices of the sites' tariffs: a price holds from
-- its start until the next one's of the same site.
\set vehicle_ids '{V0001}'
\set meter_ids '{NULL}'
\set starts '{2026-02-10 00:00Z}'
\set ends '{2026-02-11 00:00Z}'
\set start '2026-02-10 00:00Z'
\set end '2026-02-11 00:00Z'
\set first_hour '2026-02-10 00:00Z'
\set last_hour '2026-02-11 01:00Z'
\set heartbeat_seconds 60
\set sites '{depot,depot}'
\set band_starts '{2026-02-10 00:00Z,2026-02-10 06:00Z}'
\set band_prices '{0.10,0.50}'
with
span as materialized (
  select * from fed_spans(:'vehicle_ids'::text[], :'meter_ids'::text[], :'starts'::timestamptz[],
    :'ends'::timestamptz[], :'first_hour', :'last_hour', :'heartbeat_seconds')
),
-- The prices of each site, by the time from which they hold.
band as (
  select site, array_agg(starts order by starts) as edges, array_agg(price order by starts) as prices
  from unnest(:'sites'::text[], :'band_starts'::timestamptz[], :'band_prices'::numeric[]) as band (site, starts, price)
  group by site
),
-- The meters with a tariff that fed the vehicle, and when.
priced as (
  select number, vehicle_id, meter_id, site, range_agg(tstzrange(starts, ends)) as during
  from span join devices on devices.kind = 'meter' and devices.device_id = span.meter_id join band using (site)
  group by number, vehicle_id, meter_id, site
),
-- AC energy by site and price: each increment in whole units, so that sums are exact.
consumed as (
  select span.number, band.site, width_bucket(increment.recorded_at, band.edges) as place,
         sum((increment.kwh * 1e9)::int8) as units
  from span
  join devices on devices.kind = 'meter' and devices.device_id = span.meter_id
  join band on band.site = devices.site
  cross join lateral attributed_increments(span.meter_id, :'start', :'end', span.starts, span.ends, span.edges,
    span.shares, :'heartbeat_seconds') as increment
  group by span.number, band.site, place
),
-- When which site's price holds for the DC energy: of several meters at a time that of the first by id.
piece as (
  select number, vehicle_id, site, unnest(during - coalesce(earlier, '{}')) as during
  from (
    select *, range_agg(during) over (partition by number order by meter_id
                                      rows between unbounded preceding and 1 preceding) as earlier
    from priced
  ) as priority
),
delivered as (
  select piece.number, band.site, width_bucket(increment.recorded_at, band.edges) as place,
         sum((increment.kwh * 1e9)::int8) as units
  from piece join band using (site)
  cross join lateral vehicle_increments(piece.vehicle_id, :'start', :'end', lower(piece.during), upper(piece.during),
    :'heartbeat_seconds') as increment
  group by piece.number, band.site, place
),
-- A row of zeros for each site that fed: it has a cost, if only of nothing.
part as (
  select number, site, 0 as units, 0 as energy, 0 as delivered from priced
  union all select number, site, units, units * prices[place], 0 from consumed join band using (site)
  union all select number, site, 0, 0, units * prices[place] from delivered join band using (site)
)
select number, site, sum(units) as units, sum(energy) as energy, sum(delivered) as delivered
from part group by number, site;
