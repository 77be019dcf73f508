"""The column of a noted divergence has the name that the code, the log and the metric use.

Revision ID: 0005
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter table ingest_positions rename column went_back_at to diverged_at")


def downgrade() -> None:
    op.execute("alter table ingest_positions rename column diverged_at to went_back_at")
