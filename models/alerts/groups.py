"""Groups: where more devices than `max_opened` come into a condition in one evaluation, one alert is for all of them.

The alert's device kind is `fleet`, its device `*`. Its members are in alert_group_members: added by evaluate.sql, and
removed when their rule no longer finds the condition. When at most half of `max_opened` are left, the group is
resolved, and those get alerts of their own at the next evaluation.
"""

from datetime import datetime

import psycopg
from psycopg.rows import scalar_row

from models.alerts.alert import COLUMNS, FLEET, FLEET_ID, Alert, alert_row
from models.sql import one

EXAMPLES = 10  # members named in the detail

_COLUMNS = ", ".join(column.name for column in COLUMNS)
_VALUES = """
select %(kind)s as kind, %(members)s as value, %(max_opened)s as bound,
       jsonb_build_object('devices', array(
         select device_id from alert_group_members where kind = %(kind)s order by 1 limit %(examples)s)) as detail
"""
_OPEN = f"""
insert into alerts (device_kind, device_id, kind, value, bound, detail, opened_at, last_seen_at)
select %(fleet)s, %(id)s, kind, value, bound, detail, %(now)s, %(now)s from ({_VALUES}) as new
on conflict (device_kind, device_id, kind) where state <> 'resolved' do nothing
returning {_COLUMNS}
"""
_UPDATE = f"""
update alerts set value = new.value, bound = new.bound, detail = new.detail, last_seen_at = %(now)s
from ({_VALUES}) as new
where alerts.kind = new.kind and device_kind = %(fleet)s and device_id = %(id)s and state <> 'resolved'
"""
_RESOLVE = f"""
update alerts set state = 'resolved', resolved_at = %(now)s, value = %(members)s
where kind = %(kind)s and device_kind = %(fleet)s and device_id = %(id)s and state <> 'resolved'
returning {_COLUMNS}
"""


def update_group(connection: psycopg.Connection, kind: str, max_opened: int, now: datetime) -> list[Alert]:
    """Opens, updates or resolves the group of a kind by its members; returns its alert if it opened or was resolved."""
    count = "select count(*) from alert_group_members where kind = %s"
    members = one(connection.cursor(row_factory=scalar_row).execute(count, [kind]))
    values = {"kind": kind, "members": members, "max_opened": max_opened, "now": now, "examples": EXAMPLES}
    values |= {"fleet": FLEET, "id": FLEET_ID}
    cursor = connection.cursor(row_factory=alert_row)
    if members > max_opened // 2:
        connection.execute(_UPDATE, values)
        return cursor.execute(_OPEN, values).fetchall()
    connection.execute("delete from alert_group_members where kind = %s", [kind])
    return cursor.execute(_RESOLVE, values).fetchall()
