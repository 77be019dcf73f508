"""Numbers and times that every process can read: finite limits, rated powers and prices; times of Python's calendar.

One unreadable row used to keep a whole set from being read. Rows that break the new rules could not be created by a
command or a request: a key is revoked, another value becomes its default.

Revision ID: 0010
"""

from alembic import op

revision = "0010"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        update api_keys
        set readings_per_second = null, requests_per_second = null, revoked_at = coalesce(revoked_at, now())
        where not (coalesce(readings_per_second, 1) < 'infinity' and coalesce(requests_per_second, 1) < 'infinity')
    """)
    op.execute("alter table api_keys drop constraint api_keys_limits")
    op.execute("""
        alter table api_keys add constraint api_keys_limits check (
            readings_per_second > 0 and readings_per_second < 'Infinity' and readings_burst > 0
            and requests_per_second > 0 and requests_per_second < 'Infinity')
    """)
    op.execute("update devices set rated_power_kw = null where rated_power_kw >= 'Infinity'")
    op.execute("update devices set heartbeat_seconds = 86400 where heartbeat_seconds > 86400")
    op.execute("alter table devices drop constraint devices_rated_power, drop constraint devices_heartbeat")
    op.execute("""
        alter table devices
            add constraint devices_rated_power check (rated_power_kw > 0 and rated_power_kw < 'Infinity'),
            add constraint devices_heartbeat check (heartbeat_seconds between 1 and 86400)
    """)
    op.execute("""
        update vehicle_meter_mapping
        set valid_from = case when valid_from < '0001-01-01T00:00:00Z' then '-infinity' else valid_from end,
            valid_to = case when valid_to >= '10000-01-01T00:00:00Z' then 'infinity' else valid_to end
        where (valid_from < '0001-01-01T00:00:00Z' and valid_from > '-infinity')
           or (valid_to >= '10000-01-01T00:00:00Z' and valid_to < 'infinity')
    """)
    op.execute("delete from vehicle_meter_mapping where valid_from >= '10000-01-01T00:00:00Z'")
    op.execute("""
        alter table vehicle_meter_mapping add constraint vehicle_meter_mapping_times check (
            (valid_from = '-infinity' or valid_from >= '0001-01-01T00:00:00Z') and valid_from < '10000-01-01T00:00:00Z'
            and (valid_to = 'infinity' or valid_to < '10000-01-01T00:00:00Z'))
    """)
    op.execute("delete from tariffs where not (price_per_kwh >= 0 and price_per_kwh < 'Infinity')")
    op.execute("""
        alter table tariffs
            add constraint tariffs_price check (price_per_kwh >= 0 and price_per_kwh < 'Infinity')
    """)


def downgrade() -> None:
    op.execute("alter table tariffs drop constraint tariffs_price")
    op.execute("alter table vehicle_meter_mapping drop constraint vehicle_meter_mapping_times")
    op.execute("alter table devices drop constraint devices_rated_power, drop constraint devices_heartbeat")
    op.execute("""
        alter table devices
            add constraint devices_rated_power check (rated_power_kw > 0),
            add constraint devices_heartbeat check (heartbeat_seconds > 0)
    """)
    op.execute("alter table api_keys drop constraint api_keys_limits")
    op.execute("""
        alter table api_keys add constraint api_keys_limits check (
            readings_per_second > 0 and readings_burst > 0 and requests_per_second > 0)
    """)
