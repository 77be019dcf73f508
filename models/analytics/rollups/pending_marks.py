"""Pending stale marks: which of them the next step works off, and the stale hours they expand to."""

from datetime import datetime
from typing import NamedTuple

import psycopg
from psycopg.rows import class_row, scalar_row

from models.analytics.rollups.stale_hours import add_all_devices, add_marked_hours, add_rolled_hours
from models.readings import KINDS
from models.sql import one
from models.storage.stale_marks import HOUR

# The bounds of one step, about: a second or two.
MARKS_PER_STEP = 1_000
DEVICE_HOURS_PER_STEP = 20_000
# The devices of a mark with many devices and hours are expanded in groups.
_DEVICES_PER_GROUP = 20
# An hour that is still being loaded waits until it got no mark of every device for QUIET, but for LOADING at most.
QUIET_SECONDS, LOADING_SECONDS = 5, 60

# By primary key.
_PENDING = f"""
select id, kind, cardinality(device_ids) as devices, nullif(from_hour, '-infinity') as from_hour, to_hour,
       from_hour = to_hour - interval '1 hour' as is_one_hour
from rollup_marks as mark
where device_ids is not null or marked_at < now() - interval '{LOADING_SECONDS} s' or not exists (
  select from rollup_marks as newer
  where newer.device_ids is null and (newer.kind, newer.from_hour) = (mark.kind, mark.from_hour)
    and newer.marked_at > now() - interval '{QUIET_SECONDS} s')
order by id limit {MARKS_PER_STEP}
"""


class _StaleMark(NamedTuple):
    """`devices` is their number, None for a mark of every device, which is always of one hour.

    `from_hour` is None for a mark without a start.
    """

    id: int
    kind: str
    devices: int | None
    from_hour: datetime | None
    to_hour: datetime
    is_one_hour: bool


def expand_pending_marks(connection: psycopg.Connection, until: datetime) -> bool:
    """Adds the hours of the oldest marks before `until` to the stale hours and deletes the marks; False: none pend.

    If a mark is too much for one step, the devices that are left stay marked.
    """
    marks = connection.cursor(row_factory=class_row(_StaleMark)).execute(_PENDING).fetchall()
    budget = DEVICE_HOURS_PER_STEP
    done, of_one_hour, of_all_devices = [], [], set()
    for mark in marks:
        if budget <= 0:
            break
        if mark.devices is None:
            hour = mark.to_hour - HOUR
            if hour < until and (mark.kind, hour) not in of_all_devices:
                budget -= add_all_devices(connection, KINDS[mark.kind], hour)
            of_all_devices.add((mark.kind, hour))
        elif mark.is_one_hour:
            of_one_hour.append(mark.id)
            budget -= mark.devices
        else:
            added, is_done = _add_span(connection, mark, budget)
            budget -= added
            if not is_done:
                break
        done.append(mark.id)
    add_marked_hours(connection, of_one_hour)
    connection.execute("delete from rollup_marks where id = any(%s)", [done])
    return bool(marks)


def _add_span(connection: psycopg.Connection, mark: _StaleMark, budget: int) -> tuple[int, bool]:
    """Adds the rolled-up hours of a mark's devices within the budget; returns how many, and whether that was all."""
    cursor = connection.cursor(row_factory=scalar_row)
    devices = one(cursor.execute("select device_ids from rollup_marks where id = %s", [mark.id]))
    added = 0
    for place in range(0, len(devices), _DEVICES_PER_GROUP):
        if added >= budget:
            connection.execute("update rollup_marks set device_ids = %s where id = %s", [devices[place:], mark.id])
            return added, False
        group = devices[place : place + _DEVICES_PER_GROUP]
        added += add_rolled_hours(connection, KINDS[mark.kind], group, mark.from_hour, mark.to_hour)
    return added, True
