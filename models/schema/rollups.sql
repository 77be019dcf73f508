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
               temperature_max float8, readings integer, meter_readings integer, implausible integer,
               heartbeat_seconds integer)
language sql stable as $$
  with summed as (
    select vehicle_id, sum(kwh) as dc_kwh, sum(ac_kwh) as ac_kwh, sum(readings) as readings,
           sum(fed_readings) as meter_readings, sum(battery_temp_sum) as temperature_sum,
           max(battery_temp_max) as temperature_max, sum(implausible) as implausible
    from vehicle_hourly where hour >= window_start and hour < window_end
    group by vehicle_id
  )
  select vehicle_id, coalesce(ac_kwh, 0), coalesce(dc_kwh, 0), efficiency(dc_kwh, ac_kwh),
         case when meter_readings > 0 then ac_kwh - dc_kwh end, temperature_sum / nullif(readings, 0), temperature_max,
         coalesce(readings, 0)::int, coalesce(meter_readings, 0)::int, coalesce(implausible, 0)::int,
         coalesce(devices.heartbeat_seconds, default_heartbeat)
  from summed full join vehicle_readings_live as live using (vehicle_id)
  left join devices on devices.kind = 'vehicle' and devices.device_id = vehicle_id
$$;

-- Energy of vehicle-hours of [window_start, window_end) by the meters of these sites that fed the vehicle: its share of
-- the meter's energy, and the DC energy that has the meter's price: what came while the meter fed the vehicle and was
-- the first by id of those at the sites. Hours with one meter are apart, since unnesting the arrays of a fleet's day
-- takes longer than all the rest.
create function fed_hours(window_start timestamptz, window_end timestamptz, sites text[])
returns table (vehicle_id text, hour timestamptz, meter_id text, site text, ac_kwh float8, dc_kwh float8)
language sql stable as $$
  with meter as materialized (
    select device_id as meter_id, d.site from devices as d where d.kind = 'meter' and d.site = any(sites)
  ),
  fed_by_several as materialized (
    select * from vehicle_hourly as rolled
    where cardinality(fed_by) > 1 and rolled.hour >= window_start and rolled.hour < window_end
  )
  select rolled.vehicle_id, rolled.hour, meter.meter_id, meter.site, fed_kwh[1],
         case when dc_fed_by is null then kwh else coalesce(dc_fed_kwh[1], 0) end
  from vehicle_hourly as rolled join meter on meter.meter_id = fed_by[1]
  where cardinality(fed_by) = 1 and rolled.hour >= window_start and rolled.hour < window_end
  union all
  select rolled.vehicle_id, rolled.hour, meter.meter_id, meter.site, fed.kwh, 0
  from fed_by_several as rolled
  cross join lateral unnest(fed_by, fed_kwh) as fed (meter_id, kwh)
  join meter on meter.meter_id = fed.meter_id
  union all
  select drawn.vehicle_id, drawn.hour, meter.meter_id, meter.site, 0, drawn.kwh
  from (
    select rolled.vehicle_id, rolled.hour, min(meter.meter_id) as first_meter, min(drawn.kwh) as kwh
    from fed_by_several as rolled
    cross join lateral unnest(coalesce(dc_fed_by, array[array_to_string(fed_by, ',')]),
                              coalesce(dc_fed_kwh, array[rolled.kwh])) with ordinality as drawn (meter_ids, kwh, place)
    cross join lateral unnest(string_to_array(drawn.meter_ids, ',')) as fed (meter_id)
    join meter on meter.meter_id = fed.meter_id
    group by rolled.vehicle_id, rolled.hour, drawn.place
  ) as drawn
  join meter on meter.meter_id = drawn.first_meter
$$;
