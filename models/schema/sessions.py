"""Charging sessions (models/analytics/sessions)."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Identity, Index, Table, text

from models.schema.columns import device_id, metadata, time

# The vehicle charged at the meter in [started_at, ended_at).
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
