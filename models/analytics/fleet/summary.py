"""The fleet at a glance, from roll-ups: its totals, and its vehicles one by one.

A window starts at a full hour and ends at the watermark. A vehicle was **fed** if a meter that fed it had a reading in
the window; efficiency and loss are those of fed vehicles. Each answer sums the hours of the window: nothing is
cached. By {kind}_hourly_hour.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import class_row, dict_row, scalar_row
from sqlalchemy import Text, column, literal_column

from models.access.bindings import Binding, binding_sql, binding_values
from models.analytics.energy.queries import hour_of
from models.readings import KINDS
from models.schema.devices import at_site, has_in_id
from models.sql import one, read_sql, with_pieces
from models.statements import render

WORST = 10

_TOTALS = read_sql(__file__, "totals")
_VEHICLES = read_sql(__file__, "vehicles")
_VEHICLE = column("vehicle_id", Text)
_FILTERS = {
    "status": "status = %(status)s",
    "site": render(at_site(literal_column("'vehicle'"), _VEHICLE))[0],
    "search": render(has_in_id(_VEHICLE))[0],
}
# Ascending, so the worst come first; the rank of a vehicle without the value is null, and it comes last.
ORDERS = {"efficiency": "efficiency", "loss": "-loss_kwh", "temperature": "-temperature"}


@dataclass(frozen=True)
class Window:
    """[start, end): `end` is the watermark, `start` a full hour."""

    start: datetime
    end: datetime


def window(watermark: datetime, span: timedelta) -> Window:
    """From the full hour that lies `span` before the watermark's hour."""
    return Window(hour_of(watermark) - span, watermark)


@dataclass(frozen=True)
class FleetQuery:
    """A window and who may see what of it. `threshold` in percent: a lower efficiency is degraded."""

    window: Window
    threshold: float
    heartbeat_seconds: int
    binding: Binding | None = None

    @property
    def values(self) -> dict[str, Any]:
        return {
            "start": self.window.start,
            "end": self.window.end,
            "seconds": (self.window.end - self.window.start).total_seconds(),
            "threshold": self.threshold,
            "heartbeat_seconds": self.heartbeat_seconds,
            **binding_values(self.binding),
        }

    def bound(self, column: str) -> str:
        """SQL: the column is a device that the key may see; its values are among `values`."""
        return binding_sql(column, self.binding)


@dataclass(frozen=True)
class VehicleTotals:
    """One vehicle in the window; `rank` is its place in the order of the list, ascending."""

    vehicle_id: str
    ac_kwh: float
    dc_kwh: float
    efficiency: float | None
    loss_kwh: float | None
    temperature: float | None
    temperature_max: float | None
    readings: int
    meter_readings: int
    completeness: float | None
    implausible: int
    shared: bool
    status: str
    rank: float


@dataclass(frozen=True)
class Totals:
    """The window as a whole. Energy in kWh: `ac_kwh` and `dc_kwh` of fed vehicles, `unmetered_dc_kwh` of the others.

    `unmapped_ac_kwh` is the energy of meters while they fed no vehicle; None for a key that may not see all.
    """

    ac_kwh: float
    dc_kwh: float
    unmetered_dc_kwh: float
    healthy: int
    degraded: int
    implausible_vehicles: int
    unknown: int
    readings: int
    completeness: float | None
    implausible: int
    worst: list[VehicleTotals]
    unmapped_ac_kwh: float | None


@contextmanager
def consistent_read(connection: psycopg.Connection) -> Iterator[None]:
    """All queries within see the same snapshot. `connection` must be in autocommit mode."""
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        yield


def get_totals(connection: psycopg.Connection, query: FleetQuery) -> Totals:
    """Of the whole window; `worst` has the lowest efficiencies. One pass over vehicle-hours, one over meter-hours."""
    statement = with_pieces(_TOTALS, binding=query.bound("vehicle_id"))
    row = one(connection.cursor(row_factory=dict_row).execute(statement, query.values | {"worst": WORST}))
    worst = [VehicleTotals(**vehicle) for vehicle in row.pop("worst")]
    unmapped = None if query.binding else _metered_kwh(connection, query) - row["ac_kwh"]
    return Totals(**row, worst=worst, unmapped_ac_kwh=unmapped)


def _metered_kwh(connection: psycopg.Connection, query: FleetQuery) -> float:
    """The energy of all meters, also while they fed no vehicle."""
    cursor = connection.cursor(row_factory=scalar_row).execute(
        "select coalesce(sum(kwh), 0) from meter_hourly where hour >= %(start)s and hour < %(end)s", query.values
    )
    return one(cursor)


def list_vehicles(
    connection: psycopg.Connection,
    query: FleetQuery,
    *,
    sort: str,
    limit: int,
    status: str | None = None,
    site: str | None = None,
    search: str | None = None,
    after: tuple[float, str] | None = None,
) -> list[VehicleTotals]:
    """Up to `limit` vehicles in the order of one of ORDERS, those after the rank and id of `after`.

    `site` keeps those with this site in their settings, `search` those with this text in their ids.
    """
    values = {**query.values, "limit": limit, "status": status, "site": site, "search": search}
    conditions = ["true", *(condition for name, condition in _FILTERS.items() if values[name] is not None)]
    if after is not None:
        conditions.append("(rank, vehicle_id) > (%(after_rank)s, %(after_id)s)")
        values["after_rank"], values["after_id"] = after
    statement = with_pieces(
        _VEHICLES, rank=ORDERS[sort], filter=" and ".join(conditions), binding=query.bound("vehicle_id")
    )
    return connection.cursor(row_factory=class_row(VehicleTotals)).execute(statement, values).fetchall()


def count_new(connection: psycopg.Connection, query: FleetQuery) -> dict[str, int]:
    """By kind, the devices whose first reading was stored since the window's start."""
    cursor = connection.cursor(row_factory=scalar_row)
    return {
        kind.name: one(
            cursor.execute(
                f"select count(*) from {kind.live} where first_stored_at >= %(start)s"
                f" and {query.bound(kind.device_column)}",
                query.values,
            )
        )
        for kind in KINDS.values()
    }


def count_offline(connection: psycopg.Connection, query: FleetQuery, silent_since: datetime) -> dict[str, int]:
    """By kind, the devices whose newest reading is before `silent_since`. A scan of the live rows."""
    values = query.values | {"since": silent_since}
    cursor = connection.cursor(row_factory=scalar_row)
    return {
        kind.name: one(
            cursor.execute(
                f"select count(*) from {kind.live} where recorded_at < %(since)s and {query.bound(kind.device_column)}",
                values,
            )
        )
        for kind in KINDS.values()
    }
