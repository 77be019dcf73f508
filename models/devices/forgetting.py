"""Forgets devices: deletes all that the engine stores of them, as if they had never sent a reading.

Meant for devices that somebody made up. A device is billed if it was ever mapped, charged in a session, or stands at a
site: deleting it changes energy and costs of the past, also of the devices that it shared meters with.
"""

from collections.abc import Sequence
from typing import NamedTuple

import psycopg
from psycopg.rows import class_row, scalar_row

from models.alerts.alert import COLUMNS, alert_row
from models.alerts.deliveries import enqueue_deliveries
from models.readings import KINDS, Kind
from models.storage.stale_marks import mark_stale

# Devices of one transaction.
BATCH = 500

_AFTER_ALL = "~"  # greater than every character of a device id
_KNOWN = """
select %(kind)s as kind, device_id, exists (
         select from vehicle_feeds where {column} = device_id) or exists (
         select from devices as d where d.kind = %(kind)s and d.device_id = known.device_id and site is not null)
         as is_billed
from (select {column} as device_id from {live}
      union select device_id from devices where kind = %(kind)s
      union select {column} from vehicle_feeds) as known
where device_id = any(%(ids)s) or (device_id >= %(prefix)s and device_id < %(before)s)
order by device_id
"""
_ALERT_COLUMNS = ", ".join(column.name for column in COLUMNS)
_RESOLVE = f"""
update alerts set state = 'resolved', resolved_at = now()
where device_kind = %(kind)s and device_id = any(%(ids)s) and state <> 'resolved' returning {_ALERT_COLUMNS}
"""


class FoundDevice(NamedTuple):
    kind: str
    device_id: str
    is_billed: bool


class Forgotten(NamedTuple):
    """What was deleted with a batch of devices, and the alerts that were resolved."""

    readings: int
    alerts: int


def find_devices(
    connection: psycopg.Connection, kinds: Sequence[Kind], *, device_ids: Sequence[str] = (), prefix: str | None = None
) -> list[FoundDevice]:
    """The devices with these ids, or with this prefix, of which anything is stored; by kind and id."""
    values = {"ids": list(device_ids), "prefix": prefix, "before": prefix and prefix + _AFTER_ALL}
    cursor = connection.cursor(row_factory=class_row(FoundDevice))
    found: list[FoundDevice] = []
    for kind in kinds:
        statement = _KNOWN.format(column=kind.device_column, live=kind.live)
        found += cursor.execute(statement, values | {"kind": kind.name}).fetchall()
    return found


def forget_devices(
    connection: psycopg.Connection, kind: Kind, device_ids: Sequence[str], *, has_webhook: bool
) -> Forgotten:
    """Deletes history, live rows, roll-ups, settings, mappings and sessions of up to BATCH devices; resolves alerts.

    One transaction. Hours of other devices that change are marked stale. Dead letters and closed alerts stay. A reading
    that is accepted meanwhile, or later, makes its device known again.
    """
    values = {"kind": kind.name, "ids": list(device_ids)}
    with connection.transaction():
        _mark_counterparts(connection, kind, device_ids)
        # In the order in which drains lock live rows.
        column = kind.device_column
        connection.execute(
            f"select from {kind.live} where {column} = any(%(ids)s) order by {column} for update", values
        )
        for table in (kind.live, f"{kind.name}_hourly", "vehicle_meter_mapping", "charging_sessions"):
            connection.execute(f"delete from {table} where {column} = any(%(ids)s)", values)
        for table, of_kind in (("devices", "kind"), ("alert_group_members", "device_kind")):
            connection.execute(f"delete from {table} where {of_kind} = %(kind)s and device_id = any(%(ids)s)", values)
        readings = connection.execute(f"delete from {kind.history} where {column} = any(%(ids)s)", values)
        resolved = connection.cursor(row_factory=alert_row).execute(_RESOLVE, values).fetchall()
        if has_webhook:
            enqueue_deliveries(connection, resolved)
    return Forgotten(readings.rowcount, len(resolved))


def _mark_counterparts(connection: psycopg.Connection, kind: Kind, device_ids: Sequence[str]) -> None:
    """Marks the devices on the other side of the feeds, whose energy was attributed together with these."""
    (other,) = (each for each in KINDS.values() if each is not kind)
    statement = f"select distinct {other.device_column} from vehicle_feeds where {kind.device_column} = any(%s)"
    others = connection.cursor(row_factory=scalar_row).execute(statement, [list(device_ids)]).fetchall()
    if others:
        mark_stale(connection, other.name, others, None, None)
