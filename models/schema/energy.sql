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
