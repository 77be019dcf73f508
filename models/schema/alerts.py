"""Alerts, and the events about them for the webhook (models/alerts)."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    and_,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from models.schema.columns import device_id, metadata, time

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
    # `fleet`: of many devices; its device_id is `*`.
    CheckConstraint("device_kind IN ('meter', 'vehicle', 'fleet')", name="alerts_device_kind"),
    CheckConstraint("state IN ('open', 'acknowledged', 'resolved')", name="alerts_state"),
)
# At most one unresolved alert per device and kind.
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

# The devices of the alerts of kind `fleet`, by kind of alert.
alert_group_members = Table(
    "alert_group_members",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("device_kind", Text, primary_key=True),
    device_id("device_id", primary_key=True),
)

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
# An alert opens once and is resolved once. Serves the order of delivery: `opened` before `resolved`.
Index("alert_deliveries_alert", alert_deliveries.c.alert_id, alert_deliveries.c.event, unique=True)
# Serves the choice of the next delivery.
Index(
    "alert_deliveries_waiting",
    alert_deliveries.c.next_attempt_at,
    postgresql_where=and_(alert_deliveries.c.delivered_at.is_(None), alert_deliveries.c.gave_up_at.is_(None)),
)
