"""A bound of the devices that a key may post for.

Revision ID: 0012
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        alter table api_keys
            add column max_devices integer,
            add constraint api_keys_max_devices check (max_devices > 0)
    """)


def downgrade() -> None:
    op.execute("alter table api_keys drop column max_devices")
