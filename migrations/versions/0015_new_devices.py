"""When a device's first reading was stored: the number of new devices is a figure.

Revision ID: 0015
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for kind in ("meter", "vehicle"):
        table = f"{kind}_readings_live"
        # Without a default at first: the devices that are there are not new, and the table is not rewritten.
        op.execute(f"alter table {table} add column first_stored_at timestamptz")
        op.execute(f"alter table {table} alter column first_stored_at set default now()")
        op.execute(f"create index {table}_first_stored on {table} (first_stored_at)")


def downgrade() -> None:
    for kind in ("meter", "vehicle"):
        op.execute(f"alter table {kind}_readings_live drop column first_stored_at")
