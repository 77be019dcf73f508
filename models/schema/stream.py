"""The stream's state in Postgres: the position of each shard, its batches, its dead letters."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
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

from models.schema.columns import metadata, time

# A shard's position moves in the transaction that stores its readings (models/storage/positions.py).
ingest_positions = Table(
    "ingest_positions",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("entry_id", Text, nullable=False, server_default=text("'0-0'")),
    # The position before its last move. A sound stream is behind by at most this one move.
    Column("previous_entry_id", Text, nullable=False, server_default=text("'0-0'")),
    time("moved_at"),
    # Why the shard is blocked; null while it moves.
    Column("failure", Text),
    time("failed_at"),
    # When the stream was last found diverged from the position.
    time("diverged_at"),
    postgresql_with={"fillfactor": "50"},
)

# One row a committed batch, with the entries it held. Receipts are answered from it, and a diverged stream is compared
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

# Readings that Postgres refused permanently, with the reason (models/storage/dead_letters.py).
dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("shard", Integer, nullable=False),
    Column("entry_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    # The reading's place among the entry's readings of its kind, from 0; null if the whole entry is unreadable.
    Column("row", Integer),
    # The number of readings in the entry, to show whether all of them were refused.
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

# What a diverged stream may have lost, until a person acknowledges it (models/storage/losses.py).
losses = Table(
    "losses",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("shard", Integer, nullable=False),
    # The divergence: both are entry ids.
    Column("position", Text, nullable=False),
    Column("stored_id", Text, nullable=False),
    Column("server", Text, nullable=False),
    time("lost_from"),
    time("lost_until", nullable=False),
    Column("max_entries", Integer),
    time("found_at", nullable=False, server_default=text("now()")),
    time("acknowledged_at"),
    Column("acknowledged_by", Text),
    Column("note", Text),
    CheckConstraint("server IN ('redis', 'postgres')", name="losses_server"),
)
# A repair takes several transactions: one record for all of them.
Index(
    "losses_open",
    losses.c.shard,
    losses.c.position,
    losses.c.stored_id,
    unique=True,
    postgresql_where=losses.c.acknowledged_at.is_(None),
)

# The newest received time, in microseconds, of what was stored without Redis (models/storage/direct.py).
direct_entries = Sequence("direct_entries", minvalue=0, metadata=metadata)
