"""Charging sessions (models/analytics/sessions)."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Identity, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint

from models.schema.columns import device_id, metadata, time

# Why the engine ended a session: the vehicle's next one had started before, or it was open for too long.
NEXT_SESSION, TOO_LONG = "next_session", "too_long"

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
    # Why the engine ended it; null: it is open, or its end was reported.
    Column("ended_by", Text),
    # Of sessions older than the constraint below: another one of the vehicle overlaps it.
    Column("overlapping", Boolean, nullable=False, server_default=text("false")),
    CheckConstraint("started_at < ended_at", name="charging_sessions_order"),
    CheckConstraint(f"ended_by IN ('{NEXT_SESSION}', '{TOO_LONG}')", name="charging_sessions_ended_by"),
    # Sessions of a vehicle do not overlap. The vehicle is a range of one number, its hash: GiST has no text without an
    # extension, which not every server has.
    ExcludeConstraint(
        (text("int8range(hashtextextended(vehicle_id, 0), hashtextextended(vehicle_id, 0), '[]')"), "="),
        (text("tstzrange(started_at, ended_at)"), "&&"),
        name="charging_sessions_no_overlap",
        where=text("NOT overlapping"),
    ),
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
# Serves the search for open sessions that are too old.
Index(
    "charging_sessions_open",
    charging_sessions.c.started_at,
    postgresql_where=charging_sessions.c.ended_at == text("'infinity'"),
)
