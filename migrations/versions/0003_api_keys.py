"""API keys.

Revision ID: 0003
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Read whole by every web process, and found by primary key; see models/access/keys.py.
    op.execute("""
        create table api_keys (
            id text primary key,
            name text not null,
            secret_hash text not null,
            scopes text[] not null,
            device_ids text[],
            device_prefix text,
            readings_per_second double precision,
            readings_burst integer,
            requests_per_second double precision,
            created_at timestamptz not null default now(),
            expires_at timestamptz,
            revoked_at timestamptz,
            replaced_by text,
            constraint api_keys_scopes check (scopes <@ array['ingest', 'read', 'admin'] and cardinality(scopes) > 0),
            constraint api_keys_device_prefix check (device_prefix <> ''),
            constraint api_keys_limits
                check (readings_per_second > 0 and readings_burst > 0 and requests_per_second > 0)
        )
    """)


def downgrade() -> None:
    op.execute("drop table api_keys")
