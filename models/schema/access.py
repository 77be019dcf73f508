"""API keys: who may post and read what (models/access/keys.py)."""

from sqlalchemy import ARRAY, CheckConstraint, Column, Double, Integer, Table, Text, text

from models.schema.columns import metadata, time

# Every web process keeps a copy of the whole table. The secret itself is not stored, only its hash.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("secret_hash", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    # Both null: any device.
    Column("device_ids", ARRAY(Text)),
    Column("device_prefix", Text),
    # Null: no limit, the readings of one minute, the limit of the settings.
    Column("readings_per_second", Double),
    Column("readings_burst", Integer),
    Column("requests_per_second", Double),
    # Null: the bound of the settings.
    Column("max_devices", Integer),
    time("created_at", nullable=False, server_default=text("now()")),
    time("expires_at"),
    time("revoked_at"),
    # The id of the key that this one was rotated to.
    Column("replaced_by", Text),
    CheckConstraint("scopes <@ ARRAY['ingest', 'read', 'admin'] AND cardinality(scopes) > 0", name="api_keys_scopes"),
    CheckConstraint("device_prefix <> ''", name="api_keys_device_prefix"),
    CheckConstraint(
        # NaN is greater than infinity.
        "readings_per_second > 0 AND readings_per_second < 'Infinity' AND readings_burst > 0"
        " AND requests_per_second > 0 AND requests_per_second < 'Infinity'",
        name="api_keys_limits",
    ),
    CheckConstraint("max_devices > 0", name="api_keys_max_devices"),
)
