"""Energy in, energy out and battery temperature of vehicles over windows, from history."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import psycopg
from psycopg.rows import class_row

from models.analytics.energy.efficiency import efficiency
from models.analytics.energy.queries import EnergyQuery, query_values
from models.sql import one, read_sql


class MeterShare(NamedTuple):
    """The vehicle's share of a meter's energy, and the meter's instants while it fed the vehicle, which are not
    divided. `shared`: the meter fed others at the same time.
    """

    meter_id: str
    kwh: float
    points: int
    shared: bool


@dataclass(frozen=True)
class Performance:
    """Energy in kWh; temperature in °C, None without a reading; points are distinct instants.

    The lists are of the meters that fed the vehicle, by id: see `meter_shares`.
    """

    known: bool
    heartbeat_seconds: int
    dc_kwh: float
    temperature: float | None
    vehicle_points: int
    meters: list[str]
    meters_kwh: list[float]
    meters_points: list[int]
    meters_shared: list[bool]
    implausible: int

    @property
    def meter_shares(self) -> list[MeterShare]:
        columns = (self.meters, self.meters_kwh, self.meters_points, self.meters_shared)
        return [MeterShare(*share) for share in zip(*columns, strict=True)]

    @property
    def ac_kwh(self) -> float:
        return sum(self.meters_kwh)

    @property
    def meter_points(self) -> int:
        return sum(self.meters_points)

    @property
    def shared(self) -> bool:
        return any(self.meters_shared)

    @property
    def efficiency(self) -> float | None:
        return efficiency(self.dc_kwh, self.ac_kwh)


@dataclass(frozen=True)
class _OfOneVehicle(Performance):
    """Holds if `is_shared` is false; PLAIN_PERFORMANCE's only if `is_plain` is true as well."""

    is_shared: bool
    is_plain: bool


PLAIN_PERFORMANCE = read_sql(__file__, "performance_plain")
_UNSHARED_PERFORMANCE = read_sql(__file__, "performance_unshared")
_PERFORMANCES = read_sql(__file__, "performances")


def get_performance(
    connection: psycopg.Connection, vehicle_id: str, start: datetime, end: datetime, *, heartbeat_seconds: int
) -> Performance:
    """The vehicle's performance in [start, end); AC energy is that of the meters that fed it, while they did.

    `heartbeat_seconds` is that of devices without one of their own. The cheapest statement comes first, which is
    enough for nearly all vehicles.
    """
    values = {"vehicle_id": vehicle_id, "start": start, "end": end, "heartbeat_seconds": heartbeat_seconds}
    cursor = connection.cursor(row_factory=class_row(_OfOneVehicle))
    found = one(cursor.execute(PLAIN_PERFORMANCE, values))
    if not found.is_plain and not found.is_shared:
        found = one(cursor.execute(_UNSHARED_PERFORMANCE, values))
    if found.is_shared:  # or became so between the two
        queries = [EnergyQuery(vehicle_id, start, end)]
        return get_performances(connection, queries, heartbeat_seconds=heartbeat_seconds)[0]
    return found


def get_performances(
    connection: psycopg.Connection, queries: Sequence[EnergyQuery], *, heartbeat_seconds: int
) -> list[Performance]:
    """The performance of each vehicle in its own window, in the order of the queries: all in one statement."""
    if not queries:
        return []
    values = query_values(queries, heartbeat_seconds)
    return connection.cursor(row_factory=class_row(Performance)).execute(_PERFORMANCES, values).fetchall()
