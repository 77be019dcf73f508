"""The rules of energy are SQL functions, so that the statements of analytics and alerts can be read as they run.

Revision ID: 0006
"""

from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# In the order in which they can be dropped.
_FUNCTIONS = (
    "fed_hours",
    "vehicle_totals",
    "rolled_up_hours",
    "attributed_increments",
    "fed_spans",
    "vehicle_increments",
    "meter_increments",
    "vehicle_instants",
    "meter_instants",
    "energy_settings",
    "is_plain",
    "is_implausible",
    "register_increment",
    "completeness",
    "efficiency_status",
    "efficiency_percent",
    "efficiency",
    "rfc3339",
)


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text())


def downgrade() -> None:
    op.execute("""
        create or replace function feeds_of(vehicle text, since timestamptz, before timestamptz,
          out meters text[], out starts timestamptz[], out ends timestamptz[],
          out shared boolean, out plain boolean, out heartbeat_seconds integer)
        language plpgsql stable as $$
        begin
          select array_agg(meter_id order by meter_id), array_agg(lower(during) order by meter_id),
                 array_agg(upper(during) order by meter_id)
          into meters, starts, ends
          from (select meter_id, unnest(range_agg(tstzrange(valid_from, valid_to))) as during
                from vehicle_feeds
                where vehicle_id = vehicle and valid_from < before and valid_to > since
                group by meter_id) as span;
          select exists (select from vehicle_feeds as other
                         where other.meter_id = any(meters) and other.vehicle_id <> vehicle
                           and other.valid_from < before and other.valid_to > since),
                 coalesce(bool_and(d.register = 'interval' and d.rated_power_kw is null), true),
                 max(d.heartbeat_seconds) filter (where d.kind = 'vehicle')
          into shared, plain, heartbeat_seconds
          from devices as d
          where (d.kind = 'vehicle' and d.device_id = vehicle) or (d.kind = 'meter' and d.device_id = any(meters));
        end $$
    """)
    for name in _FUNCTIONS:
        op.execute(f"drop function {name}")
