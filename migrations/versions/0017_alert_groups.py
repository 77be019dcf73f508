"""One alert for many devices, and its members.

Revision ID: 0017
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        alter table alerts drop constraint alerts_device_kind,
            add constraint alerts_device_kind check (device_kind in ('meter', 'vehicle', 'fleet'))
    """)
    op.execute("""
        create table alert_group_members (
            kind text,
            device_kind text,
            device_id text collate "C",
            primary key (kind, device_kind, device_id)
        )
    """)


def downgrade() -> None:
    op.execute("drop table alert_group_members")
    op.execute("delete from alerts where device_kind = 'fleet'")
    op.execute("""
        alter table alerts drop constraint alerts_device_kind,
            add constraint alerts_device_kind check (device_kind in ('meter', 'vehicle'))
    """)
