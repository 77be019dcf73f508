"""Roll-ups have the DC energy by the meters that fed a vehicle at the time; an efficiency above 100 % is implausible.

The vehicles' hours of the last 31 days become stale and get the new columns: no answer of the fleet covers more.

Revision ID: 0011
"""

import re
from pathlib import Path

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_VERSIONS = Path(__file__).parent


def upgrade() -> None:
    op.execute("""
        alter table vehicle_hourly drop column shared,
          add column dc_fed_by text[], add column dc_fed_kwh double precision[]
    """)
    op.execute((_VERSIONS / "0011_fed_energy.sql").read_text())
    op.execute("""
        insert into rollup_marks (kind, from_hour, to_hour)
        select 'vehicle', hour, hour + interval '1 hour'
        from (select date_trunc('hour', max(rolled_until), 'UTC') as latest from rollup_state) as state
        cross join lateral generate_series(
          greatest(latest - interval '31 days', (select min(hour) from vehicle_hourly)), latest, interval '1 hour'
        ) as hour
    """)


def downgrade() -> None:
    op.execute("""
        drop function vehicle_totals;
        drop function fed_hours;
        drop function is_shared;
        alter table vehicle_hourly drop column dc_fed_by, drop column dc_fed_kwh,
          add column shared boolean not null default false
    """)
    before = (_VERSIONS / "0006_energy_functions.sql").read_text()
    for name in ("efficiency_status", "vehicle_totals", "fed_hours"):
        function = re.search(rf"create function {name}\(.*?^\$\$;", before, re.DOTALL | re.MULTILINE)
        op.execute(function[0].replace("create function", "create or replace function", 1))
