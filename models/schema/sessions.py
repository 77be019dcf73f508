"""Charging sessions, and the feeds that sessions and mappings make together."""

from sqlalchemy import DDL, BigInteger, CheckConstraint, Column, Identity, Index, Table, event, text

from models.schema.columns import device_id, metadata, time

# The vehicle charged at the meter in [started_at, ended_at) (models/analytics/sessions.py).
charging_sessions = Table(
    "charging_sessions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    device_id("vehicle_id", nullable=False),
    device_id("meter_id", nullable=False),
    time("started_at", nullable=False),
    # Infinity while the session is open.
    time("ended_at", nullable=False, server_default=text("'infinity'")),
    CheckConstraint("started_at < ended_at", name="charging_sessions_order"),
)
# Serves GET /v1/sessions?vehicleId= and the feeds of a vehicle; a start that is posted twice is one session.
Index(
    "charging_sessions_vehicle",
    charging_sessions.c.vehicle_id,
    charging_sessions.c.started_at,
    charging_sessions.c.meter_id,
    unique=True,
)
# Serves GET /v1/sessions?meterId=, and the question which vehicles a meter feeds.
Index("charging_sessions_meter", charging_sessions.c.meter_id, charging_sessions.c.started_at)
# Serves GET /v1/sessions.
Index("charging_sessions_started", charging_sessions.c.started_at, charging_sessions.c.id)
# A vehicle has at most one open session.
Index(
    "charging_sessions_open",
    charging_sessions.c.vehicle_id,
    unique=True,
    postgresql_where=charging_sessions.c.ended_at == text("'infinity'"),
)

# Feeds: a meter feeds a vehicle by a mapping or by a session (models/analytics/energy/feeds.py).
vehicle_feeds = DDL("""
create view vehicle_feeds as
select vehicle_id, meter_id, valid_from, valid_to from vehicle_meter_mapping
union all
select vehicle_id, meter_id, started_at, ended_at from charging_sessions
""")
event.listen(metadata, "after_create", vehicle_feeds)

# What performance has to know of a vehicle before it looks at history: which meters feed it in [since, before), when
# (the bounds may lie outside), whether any of them feeds others too, whether all registers are plain (see
# models/analytics/energy/registers.py), and the vehicle's own heartbeat. A function, for its plans are kept: to plan
# the same as part of that statement takes longer than all the rest.
feeds_of = DDL("""
create function feeds_of(vehicle text, since timestamptz, before timestamptz,
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
        group by meter_id) as span;
  select exists (select from vehicle_feeds as other
                 where other.meter_id = any(meters) and other.vehicle_id <> vehicle
                   and other.valid_from < before and other.valid_to > since),
         coalesce(bool_and(d.register = 'interval' and d.rated_power_kw is null), true),
         max(d.heartbeat_seconds) filter (where d.kind = 'vehicle')
  into shared, plain, heartbeat_seconds
  from devices as d
  where (d.kind = 'vehicle' and d.device_id = vehicle) or (d.kind = 'meter' and d.device_id = any(meters));
end $$
""")
event.listen(metadata, "after_create", feeds_of)
