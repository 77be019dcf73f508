"""Live: one row a device, its newest reading. What the row says does not depend on the order of arrival.

Newest means the latest `recorded_at`; of two submissions for one instant, the one accepted last. A vehicle's
state of charge is that of the newest reading that told one.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

import psycopg
from psycopg.rows import dict_row

from models.bindings import Binding, bound_to
from models.history import Row
from models.readings import METER, Kind

# ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────────


def _time(microseconds: str) -> str:
    """SQL for a history row's time: microseconds since the Postgres epoch."""
    return f"timestamptz '2000-01-01 00:00Z' + {microseconds} * interval '1 microsecond'"


def _take_newer(newer: str, columns: Sequence[str]) -> str:
    return ", ".join(f"{c} = case when {newer} then excluded.{c} else live.{c} end" for c in columns)


_NEWER = "(excluded.recorded_at, excluded.received_at) >= (live.recorded_at, live.received_at)"
_NEWER_SOC = """(excluded.soc_recorded_at, excluded.soc_received_at)
  >= (coalesce(live.soc_recorded_at, '-infinity'), coalesce(live.soc_received_at, '-infinity'))"""

# Rows are taken in the order of their key, so that two drains that meet never wait for each other in a circle.
_UPSERT_METERS = f"""
insert into meter_readings_live as live (meter_id, recorded_at, received_at, kwh_consumed_ac, voltage)
select meter_id, {_time("recorded")}, {_time("received")}, kwh, voltage
from unnest(%s::text[], %s::int8[], %s::int8[], %s::float8[], %s::float8[])
  as newest (meter_id, recorded, received, kwh, voltage)
order by meter_id collate "C"
on conflict (meter_id) do update set
  recorded_at = excluded.recorded_at, received_at = excluded.received_at,
  kwh_consumed_ac = excluded.kwh_consumed_ac, voltage = excluded.voltage
where {_NEWER}
"""
_UPSERT_VEHICLES = f"""
insert into vehicle_readings_live as live
  (vehicle_id, recorded_at, received_at, kwh_delivered_dc, battery_temp, soc, soc_recorded_at, soc_received_at)
select vehicle_id, {_time("recorded")}, {_time("received")}, kwh, temp,
       soc, {_time("soc_recorded")}, {_time("soc_received")}
from unnest(%s::text[], %s::int8[], %s::int8[], %s::float8[], %s::float8[], %s::float8[], %s::int8[], %s::int8[])
  as newest (vehicle_id, recorded, received, kwh, temp, soc, soc_recorded, soc_received)
order by vehicle_id collate "C"
on conflict (vehicle_id) do update set
  {_take_newer(_NEWER, ["recorded_at", "received_at", "kwh_delivered_dc", "battery_temp"])},
  {_take_newer(_NEWER_SOC, ["soc", "soc_recorded_at", "soc_received_at"])}
where {_NEWER} or {_NEWER_SOC}
"""


def upsert_live(connection: psycopg.Connection, kind: Kind, rows: Iterable[Row]) -> int:
    """Brings the live rows of the devices in these history rows up to date; returns how many devices that were."""
    newest = _newest(rows)
    if not newest:
        return 0
    if kind is METER:
        connection.execute(_UPSERT_METERS, _columns(newest.values()))
        return len(newest)
    told_soc = _newest(row for row in rows if row[5] is not None)
    unknown = (None, None, None, None, None, None)
    merged = []
    for vehicle_id, row in newest.items():
        soc_row = told_soc.get(vehicle_id, unknown)
        merged.append((*row[:5], soc_row[5], soc_row[1], soc_row[2]))
    connection.execute(_UPSERT_VEHICLES, _columns(merged))
    return len(newest)


def _newest(rows: Iterable[Row]) -> dict[str, Row]:
    """The newest row of each device: the latest recorded, and of those the last accepted."""
    newest: dict[str, Row] = {}
    for row in rows:
        held = newest.get(row[0])
        if held is None or (row[1], row[2]) >= (held[1], held[2]):
            newest[row[0]] = row
    return newest


def _columns(rows: Iterable[Row]) -> list[list]:
    return [list(column) for column in zip(*rows, strict=True)]


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────


def get_live(connection: psycopg.Connection, kind: Kind, device_id: str) -> dict | None:
    """The device's live row, by primary key; None for a device that was never heard."""
    return (
        connection.cursor(row_factory=dict_row)
        .execute(f"select * from {kind.live} where {kind.device_column} = %s", [device_id])
        .fetchone()
    )


def list_live(
    connection: psycopg.Connection,
    kind: Kind,
    *,
    after: str,
    limit: int,
    binding: Binding | None = None,
    heard_since: datetime | None = None,
    silent_since: datetime | None = None,
) -> list[dict]:
    """Up to `limit` live rows in the order of their ids, from the one after `after` on, by primary key.

    `heard_since` keeps the devices whose newest reading is from then or later, `silent_since` the others;
    `binding` the devices it covers.
    """
    where, values = bound_to(kind.device_column, binding)
    where.append(f"{kind.device_column} > %s")
    values.append(after)
    if heard_since is not None:
        where.append("recorded_at >= %s")
        values.append(heard_since)
    if silent_since is not None:
        where.append("recorded_at < %s")
        values.append(silent_since)
    return (
        connection.cursor(row_factory=dict_row)
        .execute(
            f"select * from {kind.live} where {' and '.join(where)} order by {kind.device_column} limit %s",
            [*values, limit],
        )
        .fetchall()
    )
