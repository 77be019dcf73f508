"""What is known of a device beside its readings: how it counts, how often it reports, where it stands.

A device without settings is an interval register with nothing known; null and a row that is missing mean the same.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from psycopg.rows import dict_row

from models.access.bindings import Binding, bound_to
from models.readings import Kind
from models.storage.stale_marks import mark_stale

# By column, what holds where nothing was said.
DEFAULTS = {"register": "interval", "heartbeat_seconds": None, "name": None, "site": None, "rated_power_kw": None}
# What changes the energy of readings that are stored: their hours are rolled up anew.
_CHANGES_ENERGY = ("register", "rated_power_kw", "heartbeat_seconds")

_COLUMNS = f"device_id, {', '.join(DEFAULTS)}, updated_at"


def set_device(
    connection: psycopg.Connection, kind: Kind, device_id: str, given: Mapping[str, Any]
) -> tuple[dict, bool]:
    """Sets the columns of DEFAULTS that are given, None to its default; returns all of them and whether they are new.

    One transaction: settings and the mark for the roll-ups hold together or not at all.
    """
    values = {column: DEFAULTS[column] if given[column] is None else given[column] for column in given}
    with connection.transaction():
        before = get_device(connection, kind, device_id, lock=True)
        columns = ["kind", "device_id", *values]
        row = (
            connection.cursor(row_factory=dict_row)
            .execute(
                f"""insert into devices as d ({", ".join(columns)}) values ({", ".join(["%s"] * len(columns))})
                    on conflict (kind, device_id) do update set {_assignments(values)}
                    returning {_COLUMNS}""",
                [kind.name, device_id, *values.values()],
            )
            .fetchone()
        )
        known = before or DEFAULTS
        if any(row[column] != known[column] for column in _CHANGES_ENERGY):
            mark_stale(connection, kind.name, [device_id], None, None)
    return row, before is None


def _assignments(values: Mapping[str, Any]) -> str:
    return ", ".join([*(f"{column} = excluded.{column}" for column in values), "updated_at = now()"])


def get_device(connection: psycopg.Connection, kind: Kind, device_id: str, *, lock: bool = False) -> dict | None:
    """The device's settings, by primary key; None where nothing was ever said of it."""
    return (
        connection.cursor(row_factory=dict_row)
        .execute(
            f"select {_COLUMNS} from devices where kind = %s and device_id = %s{' for update' if lock else ''}",
            [kind.name, device_id],
        )
        .fetchone()
    )


def settings_of(connection: psycopg.Connection, kind: Kind, device_ids: list[str]) -> dict[str, dict]:
    """The settings of those of the devices that have any, by id. By primary key."""
    rows = (
        connection.cursor(row_factory=dict_row)
        .execute(f"select {_COLUMNS} from devices where kind = %s and device_id = any(%s)", [kind.name, device_ids])
        .fetchall()
    )
    return {row["device_id"]: row for row in rows}


def list_devices(
    connection: psycopg.Connection, kind: Kind | None = None, *, binding: Binding | None = None
) -> Iterator[dict]:
    """The settings of all devices, or of one kind, in the order of kind and id. By primary key."""
    where, values = bound_to("device_id", binding)
    where.append("true" if kind is None else "kind = %s")
    values += [] if kind is None else [kind.name]
    yield from connection.cursor(row_factory=dict_row).execute(
        f"select kind, {_COLUMNS} from devices where {' and '.join(where)} order by kind, device_id", values
    )
