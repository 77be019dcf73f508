"""History and live tables, mapping, positions, batches and dead letters.

Revision ID: 0001
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = (
    "dead_letters",
    "ingest_batches",
    "ingest_positions",
    "vehicle_meter_mapping",
    "vehicle_readings_live",
    "meter_readings_live",
    "vehicle_readings_history",
    "meter_readings_history",
)


def upgrade() -> None:
    op.execute("""
        create table meter_readings_history (
            recorded_at timestamptz not null,
            received_at timestamptz not null,
            kwh_consumed_ac double precision not null,
            voltage double precision not null,
            meter_id text collate "C" not null
        ) partition by range (recorded_at)
    """)
    # GET /v1/analytics/performance/{vehicleId} (index-only), GET /v1/meters/{id}/history.
    op.execute("""
        create index meter_readings_history_covering on meter_readings_history
            (meter_id, recorded_at, received_at) include (kwh_consumed_ac)
    """)
    op.execute("""
        create table vehicle_readings_history (
            recorded_at timestamptz not null,
            received_at timestamptz not null,
            kwh_delivered_dc double precision not null,
            battery_temp double precision not null,
            soc double precision,
            vehicle_id text collate "C" not null
        ) partition by range (recorded_at)
    """)
    # GET /v1/analytics/performance/{vehicleId} (index-only), GET /v1/vehicles/{id}/history.
    op.execute("""
        create index vehicle_readings_history_covering on vehicle_readings_history
            (vehicle_id, recorded_at, received_at) include (kwh_delivered_dc, battery_temp)
    """)
    # GET /v1/meters and /v1/meters/{id}: by primary key, which also is the page cursor.
    op.execute("""
        create table meter_readings_live (
            meter_id text collate "C" primary key,
            recorded_at timestamptz not null,
            received_at timestamptz not null,
            kwh_consumed_ac double precision not null,
            voltage double precision not null
        ) with (fillfactor = 70)
    """)
    # GET /v1/vehicles and /v1/vehicles/{id}: by primary key, which also is the page cursor.
    op.execute("""
        create table vehicle_readings_live (
            vehicle_id text collate "C" primary key,
            recorded_at timestamptz not null,
            received_at timestamptz not null,
            kwh_delivered_dc double precision not null,
            battery_temp double precision not null,
            soc double precision,
            soc_recorded_at timestamptz,
            soc_received_at timestamptz
        ) with (fillfactor = 70)
    """)
    # The key serves the meters of a vehicle: analytics, GET /v1/vehicles and the mapping's own endpoints.
    op.execute("""
        create table vehicle_meter_mapping (
            vehicle_id text collate "C" not null,
            meter_id text collate "C" not null,
            valid_from timestamptz not null default '-infinity',
            valid_to timestamptz not null default 'infinity',
            primary key (vehicle_id, meter_id, valid_from),
            constraint vehicle_meter_mapping_order check (valid_from < valid_to)
        )
    """)
    op.execute("""
        create table ingest_positions (
            shard integer primary key,
            entry_id text not null default '0-0',
            previous_entry_id text not null default '0-0',
            moved_at timestamptz,
            failure text,
            failed_at timestamptz,
            went_back_at timestamptz
        ) with (fillfactor = 50)
    """)
    # The key serves GET /v1/telemetry/receipts/{receipt}: the batch whose last entry is at or after the receipt's.
    op.execute("""
        create table ingest_batches (
            shard integer not null,
            last_entry bigint not null,
            first_entry bigint not null,
            entries bigint[] not null,
            readings integer not null,
            dead_letters integer not null,
            stored_at timestamptz not null default now(),
            primary key (shard, last_entry)
        )
    """)
    op.execute("""
        create table dead_letters (
            id bigint generated always as identity primary key,
            shard integer not null,
            entry_id text not null,
            kind text not null,
            "row" integer,
            entry_readings integer not null,
            reading jsonb,
            payload bytea,
            reason text not null,
            sqlstate text,
            request_id text not null default '',
            received_at timestamptz not null,
            dead_lettered_at timestamptz not null default now(),
            replayed_at timestamptz,
            constraint dead_letters_kind check (kind in ('meter', 'vehicle', 'entry'))
        )
    """)
    # GET /v1/telemetry/receipts/{receipt}.
    op.execute("create index dead_letters_receipt on dead_letters (shard, entry_id)")


def downgrade() -> None:
    for table in _TABLES:
        op.execute(f"drop table {table}")
