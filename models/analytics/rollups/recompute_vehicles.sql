-- Recomputes the stale vehicle-hours from vehicle_shares and the readings in [since, end): constants by which the
-- planner prunes partitions. An hour without either has no row.
\set since '2026-02-10 00:00Z'
\set end '2026-02-10 00:30Z'
\set heartbeat_seconds 60
with
-- The meters that fed a vehicle in an hour.
fed as (
  select device_id, hour, sum(kwh) as kwh, sum(readings) as readings,
         array_agg(meter_id order by meter_id) as fed_by, array_agg(kwh order by meter_id) as fed_kwh
  from vehicle_shares group by device_id, hour
),
-- Vehicle-hours in which a feed starts or ends, and when the meters that feed the vehicle change.
partly_fed as (
  select device_id, hour, array_agg(distinct edge order by edge) as edges
  from stale_vehicle_hours
  join vehicle_feeds on vehicle_id = device_id and valid_from < hour + interval '1 hour' and valid_to > hour
    and valid_from < :'end' and valid_to > :'since'
  cross join lateral (values (hour), (valid_from), (valid_to)) as edges (edge)
  where edge >= hour and edge < hour + interval '1 hour'
  group by device_id, hour having count(distinct edge) > 1
),
-- Their DC energy by the meters that fed the vehicle at the time.
dc_fed as (
  select device_id, hour, array_agg(meter_ids order by meter_ids) as dc_fed_by,
         array_agg(kwh order by meter_ids) as dc_fed_kwh
  from (
    select device_id, hour, meter_ids, sum(kwh) as kwh
    from partly_fed
    cross join lateral (
      select width_bucket(recorded_at, edges) as place, sum(kwh) as kwh
      from vehicle_increments(device_id, :'since', :'end', hour, hour + interval '1 hour', :'heartbeat_seconds')
      group by place
    ) as own
    cross join lateral (
      select string_agg(distinct meter_id, ',' order by meter_id) as meter_ids from vehicle_feeds
      where vehicle_id = device_id and valid_from <= edges[place] and valid_to > edges[place]
    ) as feeding
    where meter_ids is not null
    group by device_id, hour, meter_ids
  ) as drawn
  group by device_id, hour
),
-- By vehicle_readings_history_covering, one vehicle-hour at a time.
recomputed as (
  insert into vehicle_hourly as rolled (vehicle_id, hour, kwh, battery_temp_sum, battery_temp_max, soc_sum, readings,
    soc_readings, implausible, fed_readings, ac_kwh, fed_by, fed_kwh, dc_fed_by, dc_fed_kwh)
  select stale.device_id, stale.hour, own.kwh, own.battery_temp_sum, own.battery_temp_max, own.soc_sum,
         own.readings, own.soc_readings, own.implausible, coalesce(fed.readings, 0), coalesce(fed.kwh, 0),
         coalesce(fed_by, '{}'), coalesce(fed_kwh, '{}'), case when edges is not null then coalesce(dc_fed_by, '{}') end,
         case when edges is not null then coalesce(dc_fed_kwh, '{}') end
  from stale_vehicle_hours as stale
  cross join lateral (
    select coalesce(sum(kwh), 0) as kwh, coalesce(sum(battery_temp), 0) as battery_temp_sum,
           max(battery_temp) as battery_temp_max, sum(soc) as soc_sum, count(*) as readings,
           count(soc) as soc_readings, count(*) filter (where implausible) as implausible
    from vehicle_increments(stale.device_id, :'since', :'end', stale.hour,
      stale.hour + interval '1 hour', :'heartbeat_seconds')
  ) as own
  left join fed using (device_id, hour)
  left join partly_fed using (device_id, hour)
  left join dc_fed using (device_id, hour)
  where own.readings > 0 or fed.readings > 0
  on conflict (vehicle_id, hour) do update set kwh = excluded.kwh, battery_temp_sum = excluded.battery_temp_sum,
    battery_temp_max = excluded.battery_temp_max, soc_sum = excluded.soc_sum, readings = excluded.readings,
    soc_readings = excluded.soc_readings, implausible = excluded.implausible, fed_readings = excluded.fed_readings,
    ac_kwh = excluded.ac_kwh, fed_by = excluded.fed_by, fed_kwh = excluded.fed_kwh, dc_fed_by = excluded.dc_fed_by,
    dc_fed_kwh = excluded.dc_fed_kwh
  returning vehicle_id, hour
)
delete from vehicle_hourly as rolled using stale_vehicle_hours as stale
where rolled.vehicle_id = stale.device_id and rolled.hour = stale.hour
  and not exists (
    select from recomputed where recomputed.vehicle_id = rolled.vehicle_id and recomputed.hour = rolled.hour);
