-- Efficiency, status and completeness. models/analytics/energy/efficiency.py has the same rules in Python.

-- DC / AC energy; null if the AC energy is not above 0.
create function efficiency(dc_kwh float8, ac_kwh float8) returns float8
language sql immutable parallel safe as $$
  select case when ac_kwh > 0 then dc_kwh / ac_kwh end
$$;

-- The same in percent, rounded to six digits: the status is judged by this number.
create function efficiency_percent(dc_kwh float8, ac_kwh float8) returns numeric
language sql immutable parallel safe as $$
  select round((efficiency(dc_kwh, ac_kwh) * 100)::numeric, 6)
$$;

-- `threshold` in percent. Above 100 %, more energy left the charger than its meter counted: the data is wrong.
create function efficiency_status(dc_kwh float8, ac_kwh float8, threshold float8) returns text
language sql immutable parallel safe as $$
  select case when efficiency_percent(dc_kwh, ac_kwh) < threshold then 'degraded'
              when efficiency_percent(dc_kwh, ac_kwh) > 100 then 'implausible'
              when ac_kwh > 0 then 'healthy'
              else 'unknown' end
$$;

-- The part of the expected instants that there are, at most 1; null if none was expected.
create function completeness(instants bigint, seconds float8, heartbeat_seconds integer) returns float8
language sql immutable parallel safe as $$
  select case when seconds > 0 then least(1, instants * heartbeat_seconds::float8 / seconds) end
$$;
