"""Numbers for what is written without Redis (INGEST_FALLBACK=direct).

Revision ID: 0002
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Tells apart the entries of one millisecond; see models/storage/direct.py.
    op.execute("create sequence direct_entries minvalue 0 maxvalue 99 cycle")


def downgrade() -> None:
    op.execute("drop sequence direct_entries")
