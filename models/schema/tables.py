"""The schema, as SQLAlchemy tables. Migrations make it; tests/storage/test_migrations.py holds the two to each other.

Queries are written in SQL, in the module of what they ask about, so that each can be read, explained and
pasted into psql as it runs.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Sequence,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

import models.schema.analytics  # noqa: F401 - the rest of the schema
from models.schema.columns import device_id, kwh, metadata, time

# ── History: append-only, one partition a day on recorded_at (models/storage/partitions.py) ──────────────────────────
# Eight-byte columns first: no padding, 20 bytes a row less.

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

# ── Live: one row a device, its newest reading. No index but the key, and room in each page: updates stay HOT ─

meter_readings_live = Table(
    "meter_readings_live",
    metadata,
    device_id("meter_id", primary_key=True),
    time("recorded_at", nullable=False),
    time("received_at", nullable=False),
    kwh("kwh_consumed_ac"),
    Column("voltage", Double, nullable=False),
    postgresql_with={"fillfactor": "70"},
)

vehicle_readings_live = Table(
    "vehicle_readings_live",
    metadata,
    device_id("vehicle_id", primary_key=True),
    time("recorded_at", nullable=False),
    time("received_at", nullable=False),
    kwh("kwh_delivered_dc"),
    Column("battery_temp", Double, nullable=False),
    Column("soc", Double),
    # The reading that told the state of charge may be an older one than the newest.
    time("soc_recorded_at"),
    time("soc_received_at"),
    postgresql_with={"fillfactor": "70"},
)

# ── Which meter feeds which vehicle's charger, in [valid_from, valid_to) ──────────────────────────────────────

vehicle_meter_mapping = Table(
    "vehicle_meter_mapping",
    metadata,
    device_id("vehicle_id", primary_key=True),
    device_id("meter_id", primary_key=True),
    time("valid_from", primary_key=True, server_default=text("'-infinity'")),
    time("valid_to", nullable=False, server_default=text("'infinity'")),
    CheckConstraint("valid_from < valid_to", name="vehicle_meter_mapping_order"),
)
# Serves the analytics of a vehicle: who else is fed by its meter.
Index("vehicle_meter_mapping_meter", vehicle_meter_mapping.c.meter_id)

# ── The stream's position of each shard, moved in the transaction that stores the readings ───────────────────

ingest_positions = Table(
    "ingest_positions",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("entry_id", Text, nullable=False, server_default=text("'0-0'")),
    # Where the position stood before its last move: the stream may be behind by this one move, never by more.
    Column("previous_entry_id", Text, nullable=False, server_default=text("'0-0'")),
    time("moved_at"),
    # Why the shard does not move, while it does not.
    Column("failure", Text),
    time("failed_at"),
    # When the stream was last found diverged from the position.
    time("diverged_at"),
    postgresql_with={"fillfactor": "50"},
)

# One row a committed batch: which entries it held. Receipts are answered from it, and a diverged stream is compared
# with it. Entries are numbered by EntryId.number (models/stream/entry_ids.py).
ingest_batches = Table(
    "ingest_batches",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("last_entry", BigInteger, primary_key=True, autoincrement=False),
    Column("first_entry", BigInteger, nullable=False),
    Column("entries", ARRAY(BigInteger), nullable=False),
    Column("readings", Integer, nullable=False),
    Column("dead_letters", Integer, nullable=False),
    time("stored_at", nullable=False, server_default=text("now()")),
)

# ── Readings that Postgres refused for good, with the reason ─────────────────────────────────────────────────

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("shard", Integer, nullable=False),
    Column("entry_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    # The reading's place among the entry's readings of its kind, from 0; null where the entry itself is unreadable.
    Column("row", Integer),
    # How many readings the entry held: were all of them refused?
    Column("entry_readings", Integer, nullable=False),
    Column("reading", JSONB),
    Column("payload", LargeBinary),
    Column("reason", Text, nullable=False),
    Column("sqlstate", Text),
    Column("request_id", Text, nullable=False, server_default=text("''")),
    time("received_at", nullable=False),
    time("dead_lettered_at", nullable=False, server_default=text("now()")),
    time("replayed_at"),
    CheckConstraint("kind IN ('meter', 'vehicle', 'entry')", name="dead_letters_kind"),
)
# Serves GET /v1/telemetry/receipts/{receipt}.
Index("dead_letters_receipt", dead_letters.c.shard, dead_letters.c.entry_id)

# ── API keys: who may post and read what (models/access/keys.py) ────────────────────────────────────────────────────

# Read whole by every web process; the secret itself is nowhere.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("secret_hash", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    # Both null: every device.
    Column("device_ids", ARRAY(Text)),
    Column("device_prefix", Text),
    # Null: no limit; a minute's readings; as the settings say.
    Column("readings_per_second", Double),
    Column("readings_burst", Integer),
    Column("requests_per_second", Double),
    time("created_at", nullable=False, server_default=text("now()")),
    time("expires_at"),
    time("revoked_at"),
    # The key that took this one's place.
    Column("replaced_by", Text),
    CheckConstraint("scopes <@ ARRAY['ingest', 'read', 'admin'] AND cardinality(scopes) > 0", name="api_keys_scopes"),
    CheckConstraint("device_prefix <> ''", name="api_keys_device_prefix"),
    CheckConstraint(
        "readings_per_second > 0 AND readings_burst > 0 AND requests_per_second > 0", name="api_keys_limits"
    ),
)

# Tells apart the entries of one millisecond that were written without Redis (models/storage/direct.py).
direct_entries = Sequence("direct_entries", minvalue=0, maxvalue=99, cycle=True, metadata=metadata)
