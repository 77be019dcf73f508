"""Hourly roll-ups of history, their watermark, and the marks of stale hours (models/analytics/rollups)."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

from models.schema.columns import device_id, kwh, metadata, time

# One row for each hour and device with a reading; of vehicles also for each hour in which a meter fed them.
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
    # The watermark's hour is rewritten every minute: room in each page and no index on changing columns keep it HOT.
    postgresql_with={"fillfactor": "70"},
)
# Serves GET /v1/analytics/fleet, its trend and its vehicles: all devices of some hours.
Index("meter_hourly_hour", meter_hourly.c.hour)

vehicle_hourly = Table(
    "vehicle_hourly",
    metadata,
    time("hour"),
    kwh("kwh"),
    # The vehicle's share of its meters' energy: the sum of fed_kwh.
    Column("ac_kwh", Double, nullable=False, server_default=text("0")),
    Column("battery_temp_sum", Double, nullable=False),
    Column("battery_temp_max", Double),
    Column("soc_sum", Double),
    Column("readings", Integer, nullable=False),
    Column("soc_readings", Integer, nullable=False, server_default=text("0")),
    Column("implausible", Integer, nullable=False, server_default=text("0")),
    Column("fed_readings", Integer, nullable=False, server_default=text("0")),
    device_id("vehicle_id"),
    # The meters that fed it, with or without readings, and the vehicle's share of each one's energy, in the same order.
    Column("fed_by", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("fed_kwh", ARRAY(Double), nullable=False, server_default=text("'{}'")),
    # Null if all of them fed it for the whole hour. Else its DC energy by the meters that fed it at the time (their
    # ids in order, with commas between), without what came while no meter fed it.
    Column("dc_fed_by", ARRAY(Text)),
    Column("dc_fed_kwh", ARRAY(Double)),
    PrimaryKeyConstraint("vehicle_id", "hour"),
    # The watermark's hour is rewritten every minute: room in each page and no index on changing columns keep it HOT.
    postgresql_with={"fillfactor": "70"},
)
# Serves GET /v1/analytics/fleet, its trend and its vehicles: all devices of some hours.
Index("vehicle_hourly_hour", vehicle_hourly.c.hour)

# One row; none before the first roll-up.
rollup_state = Table(
    "rollup_state",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true")),
    # A drain that stores a reading recorded before this marks its hour stale.
    time("marked_until", nullable=False),
    # The watermark: readings recorded before it are rolled up, except in stale hours.
    time("rolled_until"),
    # When the watermark last moved.
    time("moved_at"),
    CheckConstraint("only_row", name="rollup_state_one_row"),
)

# Stale marks: the hours [from_hour, to_hour) of these devices must be recomputed (models/storage/stale_marks.py).
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
