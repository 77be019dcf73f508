"""Which marks the next step works off, and what they touch."""

from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from models.analytics.rollups.stale_hours import add_all_devices, add_marked_hours, add_rolled_hours
from models.readings import KINDS

# Marks and device-hours a step, about: a second or two.
MARKS_PER_STEP = 1_000
DEVICE_HOURS_PER_STEP = 20_000
# Of a mark of many devices and hours so many devices are looked at together.
_DEVICES_AT_ONCE = 20
# An hour that is being loaded rests until no mark of every device came for QUIET, but not for longer than LOADING.
QUIET_SECONDS, LOADING_SECONDS = 5, 60


@dataclass(frozen=True)
class _Mark:
    """`devices` is None for a mark of every device; `from_hour` for one without a beginning."""

    id: int
    kind: str
    devices: int | None
    from_hour: datetime | None
    to_hour: datetime
    is_one_hour: bool


def expand_pending_marks(connection: psycopg.Connection, until: datetime) -> bool:
    """Touches what the oldest marks are about, as far as it was rolled up, and deletes them; False: there are none.

    Of a mark that is too much for one step the devices that are left stay marked.
    """
    marks, budget = _list_pending(connection), DEVICE_HOURS_PER_STEP
    done, of_one_hour, of_everyone = [], [], set()
    for found in marks:
        if budget <= 0:
            break
        if found.devices is None:
            hour = (found.kind, found.from_hour)
            if found.from_hour < until and hour not in of_everyone:
                budget -= add_all_devices(connection, KINDS[found.kind], found.from_hour)
            of_everyone.add(hour)
        elif found.is_one_hour:
            of_one_hour.append(found.id)
            budget -= found.devices
        else:
            hours, is_done = _add_span(connection, found, budget)
            budget -= hours
            if not is_done:
                break
        done.append(found.id)
    add_marked_hours(connection, of_one_hour)
    connection.execute("delete from rollup_marks where id = any(%s)", [done])
    return bool(marks)


def _list_pending(connection: psycopg.Connection) -> list[_Mark]:
    """The oldest marks, without those of hours that are still being loaded. By primary key."""
    return (
        connection.cursor(row_factory=class_row(_Mark))
        .execute(
            f"""select id, kind, cardinality(device_ids) as devices, nullif(from_hour, '-infinity') as from_hour,
                       to_hour, to_hour - from_hour = interval '1 hour' as is_one_hour
                from rollup_marks as found
                where device_ids is not null or marked_at < now() - interval '{LOADING_SECONDS} s' or not exists (
                  select from rollup_marks as newer
                  where newer.device_ids is null and (newer.kind, newer.from_hour) = (found.kind, found.from_hour)
                    and newer.marked_at > now() - interval '{QUIET_SECONDS} s')
                order by id limit {MARKS_PER_STEP}"""
        )
        .fetchall()
    )


def _add_span(connection: psycopg.Connection, found: _Mark, budget: int) -> tuple[int, bool]:
    """Touches the rolled hours of a mark's devices, until it is too much; returns how many, and whether it was all."""
    (devices,) = connection.execute("select device_ids from rollup_marks where id = %s", [found.id]).fetchone()
    hours = 0
    for place in range(0, len(devices), _DEVICES_AT_ONCE):
        if hours >= budget:
            connection.execute("update rollup_marks set device_ids = %s where id = %s", [devices[place:], found.id])
            return hours, False
        some = devices[place : place + _DEVICES_AT_ONCE]
        hours += add_rolled_hours(connection, KINDS[found.kind], some, found.from_hour, found.to_hour)
    return hours, True
