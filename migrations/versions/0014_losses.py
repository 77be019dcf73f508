"""Losses: what a diverged stream may have lost, until a person acknowledges it.

Revision ID: 0014
"""

from alembic import op

revision = "0014"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        create table losses (
            id bigint generated always as identity primary key,
            shard integer not null,
            position text not null,
            stored_id text not null,
            server text not null,
            lost_from timestamptz,
            lost_until timestamptz not null,
            max_entries integer,
            found_at timestamptz not null default now(),
            acknowledged_at timestamptz,
            acknowledged_by text,
            note text,
            constraint losses_server check (server in ('redis', 'postgres'))
        )
    """)
    op.execute("create unique index losses_open on losses (shard, position, stored_id) where acknowledged_at is null")


def downgrade() -> None:
    op.execute("drop table losses")
