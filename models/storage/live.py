"""Live: one row a device with its newest reading, whatever the order of arrival.

Newest means the latest `recorded_at`; of two submissions for one instant, the one accepted last. A vehicle's
state of charge is that of the newest reading that has one.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta

import psycopg
from psycopg.rows import scalar_row

from models.readings import KINDS, METER, VEHICLE, HistoryRow, Kind
from models.sql import one
from models.storage.binary_copy import TIME, copy_rows

# This many devices or more are copied into a temporary table, which for 10,000 takes half as long as arrays do. For a
# few it takes a millisecond longer, and most batches have a few.
COPY_DEVICES = 1_000
# A device is new for this long after its first reading was stored.
NEW_WITHIN = timedelta(days=1)

# The columns of the newest reading of each device, as arrays or in the temporary table.
_OF_BOTH = {"id": "text", "recorded": TIME, "received": TIME, "kwh": "float8"}
_SOC = {"soc": "float8", "soc_recorded": TIME, "soc_received": TIME}
_COLUMNS = {METER.name: _OF_BOTH | {"voltage": "float8"}, VEHICLE.name: _OF_BOTH | {"temp": "float8"} | _SOC}


def _take_newer(newer: str, columns: Sequence[str]) -> str:
    return ", ".join(f"{c} = case when {newer} then excluded.{c} else live.{c} end" for c in columns)


_NEWER = "(excluded.recorded_at, excluded.received_at) >= (live.recorded_at, live.received_at)"
_NEWER_SOC = """(excluded.soc_recorded_at, excluded.soc_received_at)
  >= (coalesce(live.soc_recorded_at, '-infinity'), coalesce(live.soc_received_at, '-infinity'))"""

# Rows are locked in the order of their key, so that two drains do not deadlock.
_UPSERT = {
    METER.name: f"""
insert into meter_readings_live as live (meter_id, recorded_at, received_at, kwh_consumed_ac, voltage)
select id, recorded, received, kwh, voltage from {{newest}} as newest order by id collate "C"
on conflict (meter_id) do update set
  recorded_at = excluded.recorded_at, received_at = excluded.received_at,
  kwh_consumed_ac = excluded.kwh_consumed_ac, voltage = excluded.voltage
where {_NEWER}
""",
    VEHICLE.name: f"""
insert into vehicle_readings_live as live
  (vehicle_id, recorded_at, received_at, kwh_delivered_dc, battery_temp, soc, soc_recorded_at, soc_received_at)
select id, recorded, received, kwh, temp, soc, soc_recorded, soc_received
from {{newest}} as newest order by id collate "C"
on conflict (vehicle_id) do update set
  {_take_newer(_NEWER, ["recorded_at", "received_at", "kwh_delivered_dc", "battery_temp"])},
  {_take_newer(_NEWER_SOC, ["soc", "soc_recorded_at", "soc_received_at"])}
where {_NEWER} or {_NEWER_SOC}
""",
}


def upsert_live(connection: psycopg.Connection, kind: Kind, rows: Iterable[HistoryRow]) -> int:
    """Updates the live rows of the devices in these history rows; returns the number of devices."""
    by_device = _newest(rows)
    if not by_device:
        return 0
    newest = list(by_device.values()) if kind is METER else _with_soc(by_device, rows)
    if len(newest) < COPY_DEVICES:
        columns = [list(column) for column in zip(*newest, strict=True)]
        connection.execute(_UPSERT[kind.name].format(newest=_arrays(kind)), columns)
    else:
        _copy(connection, kind, newest)
        connection.execute(_UPSERT[kind.name].format(newest=f"newest_{kind.name}"))
    return len(newest)


def _with_soc(newest: dict[str, HistoryRow], rows: Iterable[HistoryRow]) -> list[tuple]:
    """The newest reading of each vehicle, with the newest known state of charge and its times."""
    with_soc = _newest(row for row in rows if row[5] is not None)
    unknown = (None,) * 6
    soc_rows = ((row, with_soc.get(vehicle_id, unknown)) for vehicle_id, row in newest.items())
    return [(*row[:5], soc_row[5], soc_row[1], soc_row[2]) for row, soc_row in soc_rows]


def _arrays(kind: Kind) -> str:
    """SQL: the rows from an array for each column."""
    types = _COLUMNS[kind.name]
    arrays = ", ".join("%s::int8[]" if type_ == TIME else f"%s::{type_}[]" for type_ in types.values())
    columns = (
        f"timestamptz 'epoch' + {name} * interval '1 microsecond' as {name}" if type_ == TIME else name
        for name, type_ in types.items()
    )
    return f"(select {', '.join(columns)} from unnest({arrays}) as arrays ({', '.join(types)}))"


def _copy(connection: psycopg.Connection, kind: Kind, rows: Iterable[tuple]) -> None:
    """Replaces the rows of this connection's temporary table newest_{kind}."""
    types = _COLUMNS[kind.name]
    columns = ", ".join(f"{name} {type_}" for name, type_ in types.items())
    connection.execute(f"create temporary table if not exists newest_{kind.name} ({columns})")
    connection.execute(f"truncate newest_{kind.name}")
    copy_rows(connection, f"newest_{kind.name}", types, rows)


def _newest(rows: Iterable[HistoryRow]) -> dict[str, HistoryRow]:
    """The newest row of each device: the one recorded last, and of these the one accepted last."""
    newest: dict[str, HistoryRow] = {}
    for row in rows:
        held = newest.get(row[0])
        if held is None or (row[1], row[2]) >= (held[1], held[2]):
            newest[row[0]] = row
    return newest


def count_new_devices(connection: psycopg.Connection) -> dict[str, int]:
    """By kind, the devices whose first reading was stored within NEW_WITHIN. By {kind}_readings_live_first_stored."""
    cursor = connection.cursor(row_factory=scalar_row)
    return {
        kind.name: one(
            cursor.execute(f"select count(*) from {kind.live} where first_stored_at > now() - %s", [NEW_WITHIN])
        )
        for kind in KINDS.values()
    }
