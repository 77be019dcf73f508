-- Feeds, and the division of a shared meter's energy. docs/analytics.md has the rules.

-- A meter feeds a vehicle while a mapping or a charging session of the two lasts.
create view vehicle_feeds as
select vehicle_id, meter_id, valid_from, valid_to from vehicle_meter_mapping
union all
select vehicle_id, meter_id, started_at, ended_at from charging_sessions;

-- The facts that decide how a vehicle's history is read: which meters feed it in [since, before) and when (the bounds
-- may lie outside), whether one of them feeds other vehicles too, whether all of them and the vehicle are plain, and
-- the vehicle's own heartbeat. Overlapping feeds of one pair are merged, so nothing counts twice. In plpgsql, which
-- keeps plans: planning this takes longer than all the rest of a performance.
create function feeds_of(
  vehicle text, since timestamptz, before timestamptz,
  out meters text[], out starts timestamptz[], out ends timestamptz[],
  out shared boolean, out plain boolean, out heartbeat_seconds integer)
language plpgsql stable as $$
begin
  select array_agg(meter_id order by meter_id), array_agg(lower(during) order by meter_id),
         array_agg(upper(during) order by meter_id)
  into meters, starts, ends
  from (select meter_id, unnest(range_agg(tstzrange(valid_from, valid_to))) as during
        from vehicle_feeds
        where vehicle_id = vehicle and valid_from < before and valid_to > since
        group by meter_id) as merged;
  select exists (select from vehicle_feeds as other
                 where other.meter_id = any(meters) and other.vehicle_id <> vehicle
                   and other.valid_from < before and other.valid_to > since),
         coalesce(bool_and(is_plain(d.register, d.rated_power_kw)), true),
         max(d.heartbeat_seconds) filter (where d.kind = 'vehicle')
  into shared, plain, heartbeat_seconds
  from devices as d
  where (d.kind = 'vehicle' and d.device_id = vehicle) or (d.kind = 'meter' and d.device_id = any(meters));
end $$;

-- Whether a meter fed the vehicle and another one at the same time, within [since, before).
create function is_shared(vehicle text, since timestamptz, before timestamptz) returns boolean
language sql stable as $$
  select exists (
    select from vehicle_feeds as own
    join vehicle_feeds as other on other.meter_id = own.meter_id and other.vehicle_id <> own.vehicle_id
    where own.vehicle_id = vehicle and own.valid_from < before and own.valid_to > since
      and other.valid_from < before and other.valid_to > since
      and greatest(own.valid_from, other.valid_from) < least(own.valid_to, other.valid_to))
$$;

-- For each query, numbered from 0, the spans within its [starts, ends) in which a meter fed its vehicle: by any meter,
-- or by the one that the query names. [first_hour, last_hour) are constants around the hours of all queries, by which
-- the planner prunes partitions.
--
-- A meter is shared while it feeds more than one vehicle. Its energy is divided by segment: the UTC hours, cut where
-- a vehicle joins or leaves. A vehicle's share of a segment is its part of the DC energy that the meter's vehicles
-- drew in it, and an equal part where none drew any. It is that of the whole segment, also where a window cuts it:
-- so adjoining windows add up, and the shares of all vehicles add up to 1. `edges` are the starts of the segments and
-- `shares` the vehicle's shares; both are null if the meter feeds no other vehicle.
create function fed_spans(
  query_vehicles text[], query_meters text[], query_starts timestamptz[], query_ends timestamptz[],
  first_hour timestamptz, last_hour timestamptz, default_heartbeat integer)
returns table (number bigint, vehicle_id text, meter_id text, starts timestamptz, ends timestamptz, shared boolean,
               edges timestamptz[], shares float8[])
language sql stable as $$
  with query as (
    select place - 1 as number, q.vehicle_id, q.meter_id, q.starts, q.ends,
           date_trunc('hour', q.starts, 'UTC') as hours_from,
           date_trunc('hour', q.ends, 'UTC') + interval '1 hour' as hours_to
    from unnest(query_vehicles, query_meters, query_starts, query_ends)
      with ordinality as q (vehicle_id, meter_id, starts, ends, place)
  ),
  -- The vehicle's own spans: its feeds, merged, in the hours of the query. By the key of vehicle_meter_mapping and
  -- by charging_sessions_vehicle.
  own as (
    select row_number() over () as id, number, vehicle_id, meter_id, lower(during) as fed_from, upper(during) as fed_to,
           greatest(starts, lower(during)) as starts, least(ends, upper(during)) as ends,
           date_trunc('hour', greatest(starts, lower(during)), 'UTC') as hours_from,
           date_trunc('hour', least(ends, upper(during)), 'UTC') + interval '1 hour' as hours_to
    from (
      select query.number, query.vehicle_id, feed.meter_id, query.starts, query.ends,
             unnest(range_agg(tstzrange(feed.valid_from, feed.valid_to))) as during
      from query join vehicle_feeds as feed on feed.vehicle_id = query.vehicle_id
        and (query.meter_id is null or feed.meter_id = query.meter_id)
        and feed.valid_from < query.hours_to and feed.valid_to > query.hours_from
      group by query.number, query.vehicle_id, feed.meter_id, query.starts, query.ends
    ) as merged
    where lower(during) < ends and upper(during) > starts
  ),
  -- The feeds of other vehicles on the same meter in these hours. By vehicle_meter_mapping_meter and
  -- charging_sessions_meter.
  co_feeds as (
    select own.id, feed.vehicle_id, unnest(range_agg(tstzrange(feed.valid_from, feed.valid_to))) as during
    from own join vehicle_feeds as feed on feed.meter_id = own.meter_id and feed.vehicle_id <> own.vehicle_id
      and feed.valid_from < own.hours_to and feed.valid_to > own.hours_from
    group by own.id, feed.vehicle_id
  ),
  -- Where a segment may begin or end.
  cut as (
    select own.id, hour as at from own cross join lateral generate_series(hours_from, hours_to, '1 hour') as hour
    where own.id in (select id from co_feeds)
    union select id, unnest(array[fed_from, fed_to]) from own
    union select id, unnest(array[lower(during), upper(during)]) from co_feeds
  ),
  segment as (
    select between_cuts.id, between_cuts.starts, between_cuts.ends
    from (select id, at as starts, lead(at) over (partition by id order by at) as ends from cut) as between_cuts
    join own on own.id = between_cuts.id
      and between_cuts.starts >= greatest(own.fed_from, own.hours_from)
      and between_cuts.ends <= least(own.fed_to, own.hours_to)
  ),
  -- The segments in which the meter feeds another vehicle as well.
  shared_segment as (
    select segment.id, segment.starts, segment.ends, co_feeds.vehicle_id
    from segment join co_feeds on co_feeds.id = segment.id
      and co_feeds.during @> tstzrange(segment.starts, segment.ends)
  ),
  -- Each vehicle of a shared segment, the query's own among them, with all of its segments of a span.
  co_fed as (
    select id, vehicle_id, array_agg(starts order by starts) as starts, array_agg(ends order by starts) as ends
    from (select id, vehicle_id, starts, ends from shared_segment
          union select id, own.vehicle_id, shared_segment.starts, shared_segment.ends
                from shared_segment join own using (id)) as member
    group by id, vehicle_id
  ),
  -- The DC energy that each of them drew in each segment; a dip counts as 0.
  drawn as (
    select co_fed.id, co_fed.vehicle_id, place, greatest(sum(increment.kwh), 0) as kwh
    from co_fed
    cross join lateral vehicle_increments(co_fed.vehicle_id, first_hour, last_hour, co_fed.starts[1],
      co_fed.ends[cardinality(co_fed.ends)], default_heartbeat) as increment
    cross join lateral width_bucket(increment.recorded_at, co_fed.starts) as place
    where increment.recorded_at < co_fed.ends[place]
    group by co_fed.id, co_fed.vehicle_id, place
  ),
  weight as (
    select co_fed.id, moment.starts, count(*) as vehicles, sum(coalesce(drawn.kwh, 0)) as total,
           sum(coalesce(drawn.kwh, 0)) filter (where co_fed.vehicle_id = own.vehicle_id) as own_kwh
    from co_fed join own using (id)
    cross join lateral unnest(co_fed.starts) with ordinality as moment (starts, place)
    left join drawn on drawn.id = co_fed.id and drawn.vehicle_id = co_fed.vehicle_id and drawn.place = moment.place
    group by co_fed.id, moment.starts
  ),
  division as (
    select segment.id, array_agg(segment.starts order by segment.starts) as edges,
           array_agg(case when vehicles is null then 1 when total > 0 then own_kwh / total else 1::float8 / vehicles end
                     order by segment.starts) as shares,
           bool_or(vehicles > 1 and segment.starts < own.ends and segment.ends > own.starts) as shared
    from segment join own using (id) left join weight on weight.id = segment.id and weight.starts = segment.starts
    group by segment.id
  )
  select number, vehicle_id, meter_id, starts, ends, coalesce(shared, false), edges, shares
  from own left join division using (id)
$$;

-- The increments of a meter in a span of fed_spans, with the vehicle's share of the energy.
create function attributed_increments(
  meter text, window_start timestamptz, window_end timestamptz, starts timestamptz, ends timestamptz,
  edges timestamptz[], shares float8[], default_heartbeat integer)
returns table (recorded_at timestamptz, kwh float8, implausible boolean)
language sql stable as $$
  select recorded_at, kwh * coalesce(shares[width_bucket(recorded_at, edges)], 1), implausible
  from meter_increments(meter, window_start, window_end, starts, ends, default_heartbeat)
$$;
