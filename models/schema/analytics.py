"""The tables of analytics: see models/schema/tables.py, of which they are a part."""

from sqlalchemy import (
    ARRAY,
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    and_,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from models.schema.columns import device_id, kwh, metadata, time

# ── What is known of a device (models/devices/settings.py). One without a row is `interval`, nothing more is known ─

devices = Table(
    "devices",
    metadata,
    Column("kind", Text, primary_key=True),
    device_id("device_id", primary_key=True),
    Column("register", Text, nullable=False, server_default=text("'interval'")),
    # Null: HEARTBEAT_SECONDS.
    Column("heartbeat_seconds", Integer),
    Column("name", Text),
    Column("site", Text),
    Column("rated_power_kw", Double),
    time("updated_at", nullable=False, server_default=text("now()")),
    CheckConstraint("kind IN ('meter', 'vehicle')", name="devices_kind"),
    CheckConstraint("register IN ('interval', 'cumulative')", name="devices_register"),
    CheckConstraint("heartbeat_seconds > 0", name="devices_heartbeat"),
    CheckConstraint("rated_power_kw > 0", name="devices_rated_power"),
)

# ── Charging sessions: the fine-grained form of a mapping, [started_at, ended_at) (models/analytics/sessions.py) ─

charging_sessions = Table(
    "charging_sessions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    device_id("vehicle_id", nullable=False),
    device_id("meter_id", nullable=False),
    time("started_at", nullable=False),
    # Infinity while it is open.
    time("ended_at", nullable=False, server_default=text("'infinity'")),
    CheckConstraint("started_at < ended_at", name="charging_sessions_order"),
)
# Serves GET /v1/sessions?vehicleId= and the feeds of a vehicle; a start posted twice is one session.
Index(
    "charging_sessions_vehicle",
    charging_sessions.c.vehicle_id,
    charging_sessions.c.started_at,
    charging_sessions.c.meter_id,
    unique=True,
)
# Serves GET /v1/sessions?meterId=, and who else is fed by a meter.
Index("charging_sessions_meter", charging_sessions.c.meter_id, charging_sessions.c.started_at)
# Serves GET /v1/sessions.
Index("charging_sessions_started", charging_sessions.c.started_at, charging_sessions.c.id)
# A vehicle charges at one place at a time.
Index(
    "charging_sessions_open",
    charging_sessions.c.vehicle_id,
    unique=True,
    postgresql_where=charging_sessions.c.ended_at == text("'infinity'"),
)
# Who is fed by which meter and when, by mappings and sessions alike (models/analytics/energy/feeds.py).
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

# ── Roll-ups: one row an hour and device that had a reading or, of vehicles, was fed (analytics/rollups) ─

meter_hourly = Table(
    "meter_hourly",
    metadata,
    time("hour"),
    kwh("kwh"),
    Column("voltage_sum", Double, nullable=False),
    Column("readings", Integer, nullable=False),
    Column("implausible", Integer, nullable=False, server_default=text("0")),
    device_id("meter_id"),
    PrimaryKeyConstraint("meter_id", "hour"),
    # The hour of the watermark is written anew every minute: room in each page, and no index on what changes.
    postgresql_with={"fillfactor": "70"},
)
# Serves GET /v1/analytics/fleet, its trend and its vehicles: everything of some hours.
Index("meter_hourly_hour", meter_hourly.c.hour)

vehicle_hourly = Table(
    "vehicle_hourly",
    metadata,
    time("hour"),
    kwh("kwh"),
    # What the meters that fed it counted for it: the sum of fed_kwh.
    Column("ac_kwh", Double, nullable=False, server_default=text("0")),
    Column("battery_temp_sum", Double, nullable=False),
    Column("battery_temp_max", Double),
    Column("soc_sum", Double),
    Column("readings", Integer, nullable=False),
    Column("soc_readings", Integer, nullable=False, server_default=text("0")),
    Column("implausible", Integer, nullable=False, server_default=text("0")),
    Column("fed_readings", Integer, nullable=False, server_default=text("0")),
    Column("shared", Boolean, nullable=False, server_default=text("false")),
    device_id("vehicle_id"),
    # The meters that fed it, and what each gave it, in the same order.
    Column("fed_by", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("fed_kwh", ARRAY(Double), nullable=False, server_default=text("'{}'")),
    PrimaryKeyConstraint("vehicle_id", "hour"),
    # The hour of the watermark is written anew every minute: room in each page, and no index on what changes.
    postgresql_with={"fillfactor": "70"},
)
# Serves GET /v1/analytics/fleet, its trend and its vehicles: everything of some hours.
Index("vehicle_hourly_hour", vehicle_hourly.c.hour)

# How far the roll-ups have come; without the row, nowhere yet.
rollup_state = Table(
    "rollup_state",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true")),
    # What is recorded before this is marked by the drain that stores it.
    time("marked_until", nullable=False),
    # What is recorded before this is rolled up, but for the marks: the watermark.
    time("rolled_until"),
    # When it last moved.
    time("moved_at"),
    CheckConstraint("only_row", name="rollup_state_one_row"),
)

# Hours [from_hour, to_hour) to be computed anew.
rollup_marks = Table(
    "rollup_marks",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False),
    # Null: every device of the kind.
    Column("device_ids", ARRAY(Text)),
    time("from_hour", nullable=False),
    time("to_hour", nullable=False),
    time("marked_at", nullable=False, server_default=text("now()")),
    CheckConstraint("kind IN ('meter', 'vehicle')", name="rollup_marks_kind"),
    CheckConstraint("from_hour < to_hour", name="rollup_marks_order"),
)

# ── Tariffs: what a kWh costs at a site (models/analytics/money/tariffs.py) ────────────────────────────────────────

tariffs = Table(
    "tariffs",
    metadata,
    Column("site", Text, primary_key=True),
    Column("currency", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("price_per_kwh", Numeric, nullable=False),
    Column("periods", JSONB, nullable=False, server_default=text("'[]'")),
    time("updated_at", nullable=False, server_default=text("now()")),
)

# ── Alerts, and what the webhook has yet to be told of them (models/alerts/lifecycle.py) ─────────────────────

alerts = Table(
    "alerts",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("device_kind", Text, nullable=False),
    device_id("device_id", nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'open'")),
    Column("value", Double),
    Column("bound", Double),
    Column("detail", JSONB, nullable=False, server_default=text("'{}'")),
    time("opened_at", nullable=False, server_default=text("now()")),
    time("last_seen_at", nullable=False, server_default=text("now()")),
    time("acknowledged_at"),
    time("resolved_at"),
    Column("note", Text),
    CheckConstraint("device_kind IN ('meter', 'vehicle')", name="alerts_device_kind"),
    CheckConstraint("state IN ('open', 'acknowledged', 'resolved')", name="alerts_state"),
)
# One alert that is not over per device and kind.
Index(
    "alerts_unresolved",
    alerts.c.device_kind,
    alerts.c.device_id,
    alerts.c.kind,
    unique=True,
    postgresql_where=alerts.c.state != text("'resolved'"),
)
# Serves GET /v1/alerts?deviceId=.
Index("alerts_device", alerts.c.device_id, alerts.c.id)
# Serves GET /v1/alerts?state=.
Index("alerts_unresolved_by_age", alerts.c.id, postgresql_where=alerts.c.state != text("'resolved'"))

alert_deliveries = Table(
    "alert_deliveries",
    metadata,
    Column("event_id", UUID, primary_key=True),
    Column("alert_id", BigInteger, ForeignKey("alerts.id", ondelete="CASCADE"), nullable=False),
    Column("event", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("last_error", Text),
    time("created_at", nullable=False, server_default=text("now()")),
    time("next_attempt_at", nullable=False, server_default=text("now()")),
    time("delivered_at"),
    time("gave_up_at"),
    CheckConstraint("event IN ('opened', 'resolved')", name="alert_deliveries_event"),
)
# Each alert opens once and is resolved once; and one is told before the other.
Index("alert_deliveries_alert", alert_deliveries.c.alert_id, alert_deliveries.c.event, unique=True)
# Which to try next.
Index(
    "alert_deliveries_waiting",
    alert_deliveries.c.next_attempt_at,
    postgresql_where=and_(alert_deliveries.c.delivered_at.is_(None), alert_deliveries.c.gave_up_at.is_(None)),
)
