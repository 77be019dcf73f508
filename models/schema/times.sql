-- A time in UTC as JSON has it, such as 2026-02-10T10:30:00.000000Z.
create function rfc3339(moment timestamptz) returns text
language sql stable parallel safe as $$
  select to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;
