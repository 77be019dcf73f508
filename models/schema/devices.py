"""Settings of devices, and the mapping of meters to vehicles; conditions by which lists of devices are filtered."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    ColumnElement,
    Double,
    Index,
    Integer,
    Table,
    Text,
    bindparam,
    func,
    literal_column,
    select,
    text,
    tuple_,
)

from models.schema.columns import device_id, metadata, time

# A device without a row has the defaults (models/devices/settings.py).
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
    CheckConstraint("heartbeat_seconds BETWEEN 1 AND 86400", name="devices_heartbeat"),
    # NaN is greater than infinity.
    CheckConstraint("rated_power_kw > 0 AND rated_power_kw < 'Infinity'", name="devices_rated_power"),
)

# The meter feeds the vehicle's charger in [valid_from, valid_to).
vehicle_meter_mapping = Table(
    "vehicle_meter_mapping",
    metadata,
    device_id("vehicle_id", primary_key=True),
    device_id("meter_id", primary_key=True),
    time("valid_from", primary_key=True, server_default=text("'-infinity'")),
    time("valid_to", nullable=False, server_default=text("'infinity'")),
    CheckConstraint("valid_from < valid_to", name="vehicle_meter_mapping_order"),
    # Python has no other times.
    CheckConstraint(
        "(valid_from = '-infinity' OR valid_from >= '0001-01-01T00:00:00Z') AND valid_from < '10000-01-01T00:00:00Z'"
        " AND (valid_to = 'infinity' OR valid_to < '10000-01-01T00:00:00Z')",
        name="vehicle_meter_mapping_times",
    ),
)
# Serves the analytics of a vehicle: which other vehicles its meter feeds.
Index("vehicle_meter_mapping_meter", vehicle_meter_mapping.c.meter_id)


def at_site(kind: ColumnElement[str], device_id: ColumnElement[str]) -> ColumnElement[bool]:
    """The device has the `site` in its settings. One scan of the settings."""
    at_the_site = select(devices.c.kind, devices.c.device_id).where(devices.c.site == bindparam("site"))
    return tuple_(kind, device_id).in_(at_the_site)


def has_in_id(device_id: ColumnElement[str]) -> ColumnElement[bool]:
    """The id has `search` in it, in any letter case. Not a pattern: `_` and `%` are themselves."""
    return func.strpos(func.lower(device_id), func.lower(bindparam("search"))) > literal_column("0")
