"""Readings out of the database: live rows, and pages of history. One row type a kind of device serves both."""

from datetime import datetime
from typing import Any

import msgspec
import psycopg
from psycopg.rows import BaseRowFactory
from sqlalchemy import ColumnElement, Select, Table, and_, bindparam, literal_column, select, tuple_

from models.access.bindings import Binding, binding_values, within_binding
from models.readings import KINDS, METER, VEHICLE, Kind
from models.schema import metadata
from models.schema.devices import at_site, has_in_id
from models.statements import Statement, rows_of, run


class StoredReading(msgspec.Struct, frozen=True):
    """What stored readings of both kinds have; the values follow under their column names (`Kind.value_columns`)."""

    device_id: str
    recorded_at: datetime
    received_at: datetime


class StoredMeterReading(StoredReading, frozen=True):
    kwh_consumed_ac: float
    voltage: float


class StoredVehicleReading(StoredReading, frozen=True):
    """`soc` is None if it is unknown; in a live row it comes from the newest reading that had one."""

    kwh_delivered_dc: float
    battery_temp: float
    soc: float | None


def _select(kind: Kind, table: Table) -> Select:
    columns = (table.c[name] for name in ("recorded_at", "received_at", *kind.value_columns))
    return select(table.c[kind.device_column].label("device_id"), *columns)


_ROWS: dict[str, BaseRowFactory[StoredReading]] = {
    kind.name: rows_of(row, _select(kind, metadata.tables[kind.live]).selected_columns)
    for kind, row in ((METER, StoredMeterReading), (VEHICLE, StoredVehicleReading))
}


def _get_live(kind: Kind) -> Statement:
    live = metadata.tables[kind.live]
    return Statement(_select(kind, live).where(live.c[kind.device_column] == bindparam("device_id")))


def _list_live(kind: Kind) -> Statement:
    live = metadata.tables[kind.live]
    device: ColumnElement[str] = live.c[kind.device_column]
    return Statement(
        _select(kind, live).where(device > bindparam("after")).order_by(device).limit(bindparam("limit")),
        optional=(
            live.c.recorded_at >= bindparam("seen_since"),
            live.c.recorded_at < bindparam("silent_since"),
            at_site(literal_column(f"'{kind.name}'"), device),
            has_in_id(device),
            *within_binding(device),
        ),
    )


def _list_history(kind: Kind) -> Statement:
    history = metadata.tables[kind.history]
    recorded, received = history.c.recorded_at, history.c.received_at
    after_recorded: ColumnElement[datetime] = bindparam("after_recorded")
    after_received: ColumnElement[datetime] = bindparam("after_received")
    return Statement(
        _select(kind, history)
        .where(history.c[kind.device_column] == bindparam("device_id"))
        .order_by(recorded.desc(), received.desc())
        .limit(bindparam("limit")),
        optional=(
            recorded >= bindparam("start"),
            recorded < bindparam("end"),
            # The first condition prunes partitions and bounds the scan, the second finds the place within it.
            and_(recorded <= after_recorded, tuple_(recorded, received) < tuple_(after_recorded, after_received)),
        ),
    )


_GET_LIVE = {kind.name: _get_live(kind) for kind in KINDS.values()}
_LIST_LIVE = {kind.name: _list_live(kind) for kind in KINDS.values()}
_LIST_HISTORY = {kind.name: _list_history(kind) for kind in KINDS.values()}


def get_live(connection: psycopg.Connection, kind: Kind, device_id: str) -> StoredReading | None:
    """The device's live row, by primary key; None if it never reported."""
    return run(connection, _GET_LIVE[kind.name], {"device_id": device_id}, row=_ROWS[kind.name]).fetchone()


def list_live(
    connection: psycopg.Connection,
    kind: Kind,
    *,
    after: str,
    limit: int,
    binding: Binding | None = None,
    seen_since: datetime | None = None,
    silent_since: datetime | None = None,
    site: str | None = None,
    search: str | None = None,
) -> list[StoredReading]:
    """Up to `limit` live rows in the order of their ids, from the one after `after` on, by primary key.

    `seen_since` keeps the devices whose newest reading is from then or later, `silent_since` the others; `site` those
    with this site in their settings; `search` those with this text in their ids; `binding` the devices it covers.
    """
    values = {"after": after, "limit": limit, "seen_since": seen_since, "silent_since": silent_since}
    values |= {"site": site, "search": search}
    values |= binding_values(binding)
    return run(connection, _LIST_LIVE[kind.name], values, row=_ROWS[kind.name]).fetchall()


def list_history(
    connection: psycopg.Connection,
    kind: Kind,
    device_id: str,
    *,
    limit: int,
    start: datetime | None = None,
    end: datetime | None = None,
    after: tuple[datetime, datetime] | None = None,
) -> list[StoredReading]:
    """Up to `limit` readings of the device in [start, end), newest first, from the one after `after` on.

    `after` is the (recorded_at, received_at) of the last one seen. Index: {kind}_readings_history_covering,
    backwards; the partitions from the newest on, and no further than the limit.
    """
    values: dict[str, Any] = {"device_id": device_id, "limit": limit, "start": start, "end": end}
    if after is not None:
        values["after_recorded"], values["after_received"] = after
    return run(connection, _LIST_HISTORY[kind.name], values, row=_ROWS[kind.name]).fetchall()
