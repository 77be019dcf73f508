"""Readings: the history of each device, one partition a day, and its newest reading."""

from sqlalchemy import Column, Double, Index, Table, text

from models.schema.columns import device_id, kwh, metadata, time

# History is append-only, with one partition a day on recorded_at (models/storage/partitions.py).
# Eight-byte columns come first: without padding a row is 20 bytes smaller.

meter_readings_history = Table(
    "meter_readings_history",
    metadata,
    time("recorded_at", nullable=False),
    time("received_at", nullable=False),
    kwh("kwh_consumed_ac"),
    Column("voltage", Double, nullable=False),
    device_id("meter_id", nullable=False),
    postgresql_partition_by="RANGE (recorded_at)",
)
# Serves the analytics of a vehicle through its meter (index-only), and GET /v1/meters/{id}/history.
Index(
    "meter_readings_history_covering",
    meter_readings_history.c.meter_id,
    meter_readings_history.c.recorded_at,
    meter_readings_history.c.received_at,
    postgresql_include=["kwh_consumed_ac"],
)

vehicle_readings_history = Table(
    "vehicle_readings_history",
    metadata,
    time("recorded_at", nullable=False),
    time("received_at", nullable=False),
    kwh("kwh_delivered_dc"),
    Column("battery_temp", Double, nullable=False),
    Column("soc", Double),
    device_id("vehicle_id", nullable=False),
    postgresql_partition_by="RANGE (recorded_at)",
)
# Serves the analytics of a vehicle (index-only), and GET /v1/vehicles/{id}/history.
Index(
    "vehicle_readings_history_covering",
    vehicle_readings_history.c.vehicle_id,
    vehicle_readings_history.c.recorded_at,
    vehicle_readings_history.c.received_at,
    postgresql_include=["kwh_delivered_dc", "battery_temp"],
)

# Live tables have one row a device: its newest reading. No index is on a column that changes, and fillfactor
# leaves room in each page, so that updates are HOT.

meter_readings_live = Table(
    "meter_readings_live",
    metadata,
    device_id("meter_id", primary_key=True),
    time("recorded_at", nullable=False),
    time("received_at", nullable=False),
    kwh("kwh_consumed_ac"),
    Column("voltage", Double, nullable=False),
    # Null: before the column was added.
    time("first_stored_at", server_default=text("now()")),
    postgresql_with={"fillfactor": "70"},
)
# Serves the number of new devices. It never changes, so that updates are HOT all the same.
Index("meter_readings_live_first_stored", meter_readings_live.c.first_stored_at)

vehicle_readings_live = Table(
    "vehicle_readings_live",
    metadata,
    device_id("vehicle_id", primary_key=True),
    time("recorded_at", nullable=False),
    time("received_at", nullable=False),
    kwh("kwh_delivered_dc"),
    Column("battery_temp", Double, nullable=False),
    Column("soc", Double),
    # The newest reading that had a state of charge; it may be older than the row's reading.
    time("soc_recorded_at"),
    time("soc_received_at"),
    # Null: before the column was added.
    time("first_stored_at", server_default=text("now()")),
    postgresql_with={"fillfactor": "70"},
)
# Serves the number of new devices. It never changes, so that updates are HOT all the same.
Index("vehicle_readings_live_first_stored", vehicle_readings_live.c.first_stored_at)
