-- A time in UTC as JSON has it, such as 2026-02-10T10:30:00.000000Z.
create function rfc3339(moment timestamptz) returns text
language sql stable parallel safe as $$
  select to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- Efficiency, status and completeness. models/analytics/energy/efficiency.py has the same rules in Python.

-- DC / AC energy; null if the AC energy is not above 0.
create function efficiency(dc_kwh float8, ac_kwh float8) returns float8
language sql immutable parallel safe as $$
  select case when ac_kwh > 0 then dc_kwh / ac_kwh end
$$;

-- The same in percent, rounded to six digits: by this number a vehicle is degraded or not.
create function efficiency_percent(dc_kwh float8, ac_kwh float8) returns numeric
language sql immutable parallel safe as $$
  select round((efficiency(dc_kwh, ac_kwh) * 100)::numeric, 6)
$$;

-- `threshold` in percent.
create function efficiency_status(dc_kwh float8, ac_kwh float8, threshold float8) returns text
language sql immutable parallel safe as $$
  select case when efficiency_percent(dc_kwh, ac_kwh) < threshold then 'degraded'
              when ac_kwh > 0 then 'healthy'
              else 'unknown' end
$$;

-- The part of the expected instants that there are, at most 1; null if none was expected.
create function completeness(instants bigint, seconds float8, heartbeat_seconds integer) returns float8
language sql immutable parallel safe as $$
  select case when seconds > 0 then least(1, instants * heartbeat_seconds::float8 / seconds) end
$$;

-- The energy of readings: every sum of energy is a sum of increments. docs/analytics.md has the rules for a reader.
--
-- The planner inlines the functions that return tables. Arguments are the window's bounds as constants, by which it
-- prunes partitions, and the bounds of one row beside them: a reading counts in the intersection of both.

-- The energy that a value adds, in kWh. `earlier`: the value of the instant before; null: there is none.
create function register_increment(is_cumulative boolean, value float8, earlier float8) returns float8
language sql immutable parallel safe as $$
  select case when not is_cumulative then value
              when earlier is null then 0
              when value < 0.9 * earlier then value  -- the register was reset
              else value - earlier end  -- below 0 for a dip: the next reading adds it again
$$;

-- Whether the energy exceeds what the rated power yields in the time since the instant before; 1e-6 kWh more is
-- rounding. False without rated power, or without an instant before.
create function is_implausible(kwh float8, rated_power_kw float8, elapsed interval, least_seconds float8)
returns boolean
language sql immutable parallel safe as $$
  select coalesce(
    elapsed is not null
      and kwh > rated_power_kw * greatest(extract(epoch from elapsed)::float8, least_seconds) / 3600 + 1e-6,
    false)
$$;

-- Whether the energy of a device is simply the sum of its values.
create function is_plain(register text, rated_power_kw float8) returns boolean
language sql immutable parallel safe as $$
  select register = 'interval' and rated_power_kw is null
$$;

-- How the readings of a device count; one row, also for a device without settings. `least_seconds`: the time for
-- which the rated power is granted at least, the heartbeat of an interval device.
create function energy_settings(device_kind text, device text, default_heartbeat integer)
returns table (is_plain boolean, is_cumulative boolean, rated_power_kw float8, least_seconds float8)
language sql stable parallel safe as $$
  select coalesce(is_plain(d.register, d.rated_power_kw), true), coalesce(d.register = 'cumulative', false),
         d.rated_power_kw,
         case when d.register = 'interval' then coalesce(d.heartbeat_seconds, default_heartbeat) end::float8
  from (select) as always left join devices as d on d.kind = device_kind and d.device_id = device
$$;

-- The instants of a meter, newest first: each recorded_at once, the last accepted reading counts.
-- By meter_readings_history_covering, index-only unless the voltage is used.
create function meter_instants(
  device text, window_start timestamptz, window_end timestamptz, starts timestamptz, ends timestamptz)
returns table (recorded_at timestamptz, value float8, voltage float8)
language sql stable parallel safe as $$
  select distinct on (recorded_at) recorded_at, kwh_consumed_ac, voltage
  from meter_readings_history
  where meter_id = device and recorded_at >= window_start and recorded_at < window_end
    and recorded_at >= starts and recorded_at < ends
  order by recorded_at desc, received_at desc
$$;

-- The same of a vehicle. By vehicle_readings_history_covering, index-only unless the state of charge is used.
create function vehicle_instants(
  device text, window_start timestamptz, window_end timestamptz, starts timestamptz, ends timestamptz)
returns table (recorded_at timestamptz, value float8, battery_temp float8, soc float8)
language sql stable parallel safe as $$
  select distinct on (recorded_at) recorded_at, kwh_delivered_dc, battery_temp, soc
  from vehicle_readings_history
  where vehicle_id = device and recorded_at >= window_start and recorded_at < window_end
    and recorded_at >= starts and recorded_at < ends
  order by recorded_at desc, received_at desc
$$;

-- The increments of a meter: kWh of each instant, 0 where it is implausible. In no order.
-- A plain device costs what its instants cost: the other scans are not begun.
create function meter_increments(
  device text, window_start timestamptz, window_end timestamptz, starts timestamptz, ends timestamptz,
  default_heartbeat integer)
returns table (recorded_at timestamptz, kwh float8, implausible boolean, voltage float8)
language sql stable parallel safe as $$
  select increment.recorded_at, increment.kwh, increment.implausible, increment.voltage
  from energy_settings('meter', device, default_heartbeat) as setting
  -- The instant before the window, however long ago.
  left join lateral (
    select recorded_at, kwh_consumed_ac as value from meter_readings_history
    where not setting.is_plain and meter_id = device
      and recorded_at < greatest(window_start, starts) and recorded_at < window_end and recorded_at < ends
    order by recorded_at desc, received_at desc limit 1
  ) as before on true
  cross join lateral (
    select recorded_at, value as kwh, false as implausible, voltage
    from meter_instants(device, window_start, window_end, starts, ends)
    where setting.is_plain
    union all
    select recorded_at, case when implausible then 0 else kwh end, implausible, voltage
    from (
      select recorded_at, voltage, register_increment(setting.is_cumulative, value, earlier) as kwh,
             is_implausible(register_increment(setting.is_cumulative, value, earlier), setting.rated_power_kw,
                            recorded_at - earlier_at, setting.least_seconds) as implausible
      from (
        select recorded_at, value, voltage, coalesce(lead(value) over newer_first, before.value) as earlier,
               coalesce(lead(recorded_at) over newer_first, before.recorded_at) as earlier_at
        from meter_instants(device, window_start, window_end, starts, ends)
        where not setting.is_plain
        window newer_first as (order by recorded_at desc)
      ) as pair
    ) as judged
  ) as increment
$$;

-- The same of a vehicle.
create function vehicle_increments(
  device text, window_start timestamptz, window_end timestamptz, starts timestamptz, ends timestamptz,
  default_heartbeat integer)
returns table (recorded_at timestamptz, kwh float8, implausible boolean, battery_temp float8, soc float8)
language sql stable parallel safe as $$
  select increment.recorded_at, increment.kwh, increment.implausible, increment.battery_temp, increment.soc
  from energy_settings('vehicle', device, default_heartbeat) as setting
  left join lateral (
    select recorded_at, kwh_delivered_dc as value from vehicle_readings_history
    where not setting.is_plain and vehicle_id = device
      and recorded_at < greatest(window_start, starts) and recorded_at < window_end and recorded_at < ends
    order by recorded_at desc, received_at desc limit 1
  ) as before on true
  cross join lateral (
    select recorded_at, value as kwh, false as implausible, battery_temp, soc
    from vehicle_instants(device, window_start, window_end, starts, ends)
    where setting.is_plain
    union all
    select recorded_at, case when implausible then 0 else kwh end, implausible, battery_temp, soc
    from (
      select recorded_at, battery_temp, soc, register_increment(setting.is_cumulative, value, earlier) as kwh,
             is_implausible(register_increment(setting.is_cumulative, value, earlier), setting.rated_power_kw,
                            recorded_at - earlier_at, setting.least_seconds) as implausible
      from (
        select recorded_at, value, battery_temp, soc, coalesce(lead(value) over newer_first, before.value) as earlier,
               coalesce(lead(recorded_at) over newer_first, before.recorded_at) as earlier_at
        from vehicle_instants(device, window_start, window_end, starts, ends)
        where not setting.is_plain
        window newer_first as (order by recorded_at desc)
      ) as pair
    ) as judged
  ) as increment
$$;

-- Feeds, and the division of a shared meter's energy. docs/analytics.md has the rules.

-- The facts that decide how a vehicle's history is read: which meters feed it in [since, before) and when (the bounds
-- may lie outside), whether one of them feeds other vehicles too, whether all of them and the vehicle are plain, and
-- the vehicle's own heartbeat. Overlapping feeds of one pair are merged, so nothing counts twice. In plpgsql, which
-- keeps plans: planning this takes longer than all the rest of a performance.
create or replace function feeds_of(
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

-- What is read from the hourly roll-ups.

-- The hours in which the roll-ups of a device equal its history, within the buckets [starts[n], ends[n]), as one
-- multirange: whole UTC hours of a bucket, before the watermark, and not stale. One row; watermark: null before the
-- first roll-up. A late reading also changes the increment of the next instant of a device that is not plain: hours
-- up to that instant's are left out.
create function rolled_up_hours(device_kind text, device text, starts timestamptz[], ends timestamptz[])
returns table (during tstzmultirange, watermark timestamptz)
language sql stable as $$
  with state as (select max(rolled_until) as watermark from rollup_state),
  whole as (
    select range_agg(tstzrange(first_hour, end_of_last)) as during
    from state, unnest(starts, ends) as bucket (bucket_start, bucket_end)
    cross join lateral (
      select date_trunc('hour', bucket_start + interval '1 hour' - interval '1 microsecond', 'UTC') as first_hour,
             date_trunc('hour', least(bucket_end, watermark), 'UTC') as end_of_last) as hours
    where watermark is not null and first_hour < end_of_last
  ),
  stale as (
    select range_agg(tstzrange(from_hour, greatest(to_hour, next_instant.hour + interval '1 hour'))) as during
    from rollup_marks left join lateral (
      select date_trunc('hour', min(recorded_at), 'UTC') as hour
      from (
        select (select recorded_at from meter_readings_history
                where device_kind = 'meter' and meter_id = device
                  and recorded_at >= to_hour and recorded_at < ends[cardinality(ends)]
                order by recorded_at limit 1) as recorded_at
        union all
        select (select recorded_at from vehicle_readings_history
                where device_kind = 'vehicle' and vehicle_id = device
                  and recorded_at >= to_hour and recorded_at < ends[cardinality(ends)]
                order by recorded_at limit 1)
      ) as first_of_kind
      where exists (select from devices as d where d.kind = device_kind and d.device_id = device
                    and not is_plain(d.register, d.rated_power_kw))
    ) as next_instant on true
    where rollup_marks.kind = device_kind and (device_ids is null or device = any(device_ids))
      and from_hour < ends[cardinality(ends)]
  )
  select coalesce(whole.during - coalesce(stale.during, '{}'), '{}'), watermark from state, whole, stale
$$;

-- Every vehicle that ever sent a reading or was fed in [window_start, window_end), with its sums. Temperature is a
-- mean; heartbeat_seconds is the vehicle's own or the default. By vehicle_hourly_hour.
create function vehicle_totals(window_start timestamptz, window_end timestamptz, default_heartbeat integer)
returns table (vehicle_id text, ac_kwh float8, dc_kwh float8, efficiency float8, loss_kwh float8, temperature float8,
               temperature_max float8, readings integer, meter_readings integer, implausible integer, shared boolean,
               heartbeat_seconds integer)
language sql stable as $$
  with summed as (
    select vehicle_id, sum(kwh) as dc_kwh, sum(ac_kwh) as ac_kwh, sum(readings) as readings,
           sum(fed_readings) as meter_readings, sum(battery_temp_sum) as temperature_sum,
           max(battery_temp_max) as temperature_max, sum(implausible) as implausible, bool_or(shared) as shared
    from vehicle_hourly where hour >= window_start and hour < window_end
    group by vehicle_id
  )
  select vehicle_id, coalesce(ac_kwh, 0), coalesce(dc_kwh, 0), efficiency(dc_kwh, ac_kwh),
         case when meter_readings > 0 then ac_kwh - dc_kwh end, temperature_sum / nullif(readings, 0), temperature_max,
         coalesce(readings, 0)::int, coalesce(meter_readings, 0)::int, coalesce(implausible, 0)::int,
         coalesce(shared, false), coalesce(devices.heartbeat_seconds, default_heartbeat)
  from summed full join vehicle_readings_live as live using (vehicle_id)
  left join devices on devices.kind = 'vehicle' and devices.device_id = vehicle_id
$$;

-- Vehicle-hours of [window_start, window_end) by the meters of these sites that fed the vehicle: the vehicle's share of
-- the meter's energy, its DC energy, and whether the meter is the first by id of those at the sites. Hours with one
-- meter are apart, since unnesting the arrays of a fleet's day takes longer than all the rest.
create function fed_hours(window_start timestamptz, window_end timestamptz, sites text[])
returns table (vehicle_id text, hour timestamptz, meter_id text, site text, ac_kwh float8, dc_kwh float8,
               is_first boolean)
language sql stable as $$
  with meter as materialized (
    select device_id as meter_id, d.site from devices as d where d.kind = 'meter' and d.site = any(sites)
  )
  select rolled.vehicle_id, rolled.hour, meter.meter_id, meter.site, fed_kwh[1], kwh, true
  from vehicle_hourly as rolled join meter on meter.meter_id = fed_by[1]
  where cardinality(fed_by) = 1 and rolled.hour >= window_start and rolled.hour < window_end
  union all
  select rolled.vehicle_id, rolled.hour, meter.meter_id, meter.site, fed.kwh, rolled.kwh,
         meter.meter_id = min(meter.meter_id) over (partition by rolled.vehicle_id, rolled.hour)
  from vehicle_hourly as rolled
  cross join lateral unnest(fed_by, fed_kwh) as fed (meter_id, kwh)
  join meter on meter.meter_id = fed.meter_id
  where cardinality(fed_by) > 1 and rolled.hour >= window_start and rolled.hour < window_end
$$;
