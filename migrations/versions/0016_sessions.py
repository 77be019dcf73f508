"""Sessions of one vehicle can't overlap; why the engine ended a session.

Sessions that overlap already stay as they are: `overlapping` marks both, and the constraint leaves them out.

Revision ID: 0016
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        alter table charging_sessions
          add column ended_by text, add column overlapping boolean not null default false,
          add constraint charging_sessions_ended_by check (ended_by in ('next_session', 'too_long'));

        update charging_sessions set overlapping = true
        from (
          select id, started_at < max(ended_at) over (partition by vehicle_id order by started_at, id
                                                      rows between unbounded preceding and 1 preceding) as earlier,
                 ended_at > lead(started_at) over (partition by vehicle_id order by started_at, id) as later
          from charging_sessions
        ) as other
        where other.id = charging_sessions.id and (earlier or later);

        alter table charging_sessions add constraint charging_sessions_no_overlap exclude using gist (
          int8range(hashtextextended(vehicle_id, 0), hashtextextended(vehicle_id, 0), '[]') with =,
          tstzrange(started_at, ended_at) with &&
        ) where (not overlapping);

        drop index charging_sessions_open;
        create index charging_sessions_open on charging_sessions (started_at) where ended_at = 'infinity';
    """)


def downgrade() -> None:
    op.execute("""
        drop index charging_sessions_open;
        create unique index charging_sessions_open on charging_sessions (vehicle_id) where ended_at = 'infinity';
        alter table charging_sessions drop constraint charging_sessions_no_overlap, drop column overlapping,
          drop column ended_by;
    """)
