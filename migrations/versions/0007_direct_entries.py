"""What is stored without Redis gets received times in order: the sequence has the newest one.

Revision ID: 0007
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter sequence direct_entries no maxvalue no cycle")


def downgrade() -> None:
    op.execute("alter sequence direct_entries maxvalue 99 cycle restart with 0")
