"""Settings of a device: how its register counts, how often it reports, its name, its site and its rated power.

A device without a row has the defaults of `Device`; null in a column means the default.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from operator import attrgetter
from typing import Any

import msgspec
import psycopg
from sqlalchemy import ARRAY, Text, any_, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert

from models.readings import Kind
from models.schema.devices import devices
from models.sql import one
from models.statements import Statement, rows_of, run
from models.storage.stale_marks import mark_stale


class Device(msgspec.Struct, frozen=True):
    """`kind` is `meter` or `vehicle`. A `heartbeat_seconds` of None is HEARTBEAT_SECONDS."""

    kind: str
    device_id: str
    register: str = "interval"  # or `cumulative`
    heartbeat_seconds: int | None = None
    name: str | None = None
    site: str | None = None
    rated_power_kw: float | None = None


# Settings by which readings already stored have another energy or completeness.
_energy_settings = attrgetter("register", "rated_power_kw", "heartbeat_seconds")
_DEVICES = select(*(devices.c[name] for name in Device.__struct_fields__))
_ROW = rows_of(Device, _DEVICES.selected_columns)
_LISTED = Statement(
    _DEVICES.order_by(devices.c.kind, devices.c.device_id), optional=(devices.c.kind == bindparam("kind"),)
)
_OF_KIND = _DEVICES.where(devices.c.kind == bindparam("kind"))
_LOCKED = Statement(_OF_KIND.where(devices.c.device_id == bindparam("device_id")).with_for_update())
_WITH_IDS = Statement(_OF_KIND.where(devices.c.device_id == any_(bindparam("device_ids", type_=ARRAY(Text)))))


@cache
def _upsert(columns: frozenset[str]) -> Statement:
    statement = insert(devices).values({name: bindparam(name) for name in ("kind", "device_id", *sorted(columns))})
    changed = {name: statement.excluded[name] for name in columns} | {"updated_at": func.now()}
    statement = statement.on_conflict_do_update(index_elements=[devices.c.kind, devices.c.device_id], set_=changed)
    return Statement(statement.returning(*_DEVICES.selected_columns))


def set_device(
    connection: psycopg.Connection, kind: Kind, device_id: str, given: Mapping[str, Any]
) -> tuple[Device, bool]:
    """Changes the settings that are given, None to the default; returns all of them, and whether there were none.

    One transaction: the settings, and the marks of the hours to be rolled up again.
    """
    unset = Device(kind.name, device_id)
    values = {name: getattr(unset, name) if value is None else value for name, value in given.items()}
    key = {"kind": kind.name, "device_id": device_id}
    with connection.transaction():
        before = run(connection, _LOCKED, key, row=_ROW).fetchone()
        device = one(run(connection, _upsert(frozenset(values)), {**key, **values}, row=_ROW))
        if _energy_settings(device) != _energy_settings(before or unset):
            mark_stale(connection, kind.name, [device_id], None, None)
    return device, before is None


def get_device(connection: psycopg.Connection, kind: Kind, device_id: str) -> Device:
    """The device's settings, or the defaults. By primary key."""
    return get_devices(connection, kind, [device_id])[device_id]


def get_devices(connection: psycopg.Connection, kind: Kind, device_ids: Iterable[str]) -> dict[str, Device]:
    """The settings of each of the devices, or the defaults, by id. By primary key."""
    values = {"kind": kind.name, "device_ids": list(device_ids)}
    found = {device.device_id: device for device in run(connection, _WITH_IDS, values, row=_ROW)}
    return {name: found.get(name) or Device(kind.name, name) for name in values["device_ids"]}


def list_devices(connection: psycopg.Connection, kind: Kind | None = None) -> Iterator[Device]:
    """The devices that have settings, all or of one kind, in the order of kind and id. By primary key."""
    yield from run(connection, _LISTED, {"kind": kind and kind.name}, row=_ROW)
