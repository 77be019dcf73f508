"""The fleet at a glance, from roll-ups: its totals, and its vehicles one by one.

A window ends at the watermark and begins at a full hour. A vehicle was **fed** where a meter that fed it was heard in
the window; efficiency and loss are those of fed vehicles. Everything is summed for each answer anew, from the hours
of the window: index {kind}_hourly_hour.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from psycopg.rows import class_row, dict_row

from models.access.bindings import Binding, binding_sql, binding_values
from models.analytics.energy.efficiency import COMPLETENESS, STATUS
from models.readings import KINDS

WORST = 10


@dataclass(frozen=True)
class Window:
    """[start, end): `end` is the watermark, `start` a full hour."""

    start: datetime
    end: datetime


@dataclass(frozen=True)
class FleetQuery:
    """What all answers depend on. `threshold` in percent: an efficiency below it is degraded."""

    window: Window
    threshold: float
    heartbeat_seconds: int
    binding: Binding | None = None

    @property
    def values(self) -> dict:
        return {
            "start": self.window.start,
            "end": self.window.end,
            "seconds": (self.window.end - self.window.start).total_seconds(),
            "threshold": self.threshold,
            "heartbeat_seconds": self.heartbeat_seconds,
            **binding_values(self.binding),
        }

    def bound(self, column: str) -> str:
        """SQL: the device is one that may be seen."""
        return binding_sql(column, self.binding)


@dataclass(frozen=True)
class Totals:
    """The window in one. Energy in kWh. Of fed vehicles `ac_kwh` and `dc_kwh`; `unmetered_dc_kwh` of the others.

    `unmapped_ac_kwh`: what meters counted while they fed nobody; None for a key that may not see them all.
    """

    ac_kwh: float
    dc_kwh: float
    unmetered_dc_kwh: float
    healthy: int
    degraded: int
    unknown: int
    readings: int
    completeness: float | None
    implausible: int
    worst: list["VehicleTotals"]
    unmapped_ac_kwh: float | None


@dataclass(frozen=True)
class VehicleTotals:
    """One vehicle in the window; `rank` is its place in the order asked for, ascending."""

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


def window(watermark: datetime, span: timedelta) -> Window:
    """From the full hour that lies `span` before the hour of the watermark."""
    return Window(watermark.replace(minute=0, second=0, microsecond=0) - span, watermark)


@contextmanager
def consistent_read(connection: psycopg.Connection) -> Iterator[None]:
    """All that is asked within is answered as of one moment. `connection` must be in autocommit mode."""
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        yield


_STATUS = STATUS.format(dc="dc_kwh", ac="ac_kwh", threshold="%(threshold)s")
_COMPLETENESS = COMPLETENESS.format(instants="readings", heartbeat_seconds="heartbeat_seconds", seconds="%(seconds)s")
# Every vehicle that was ever heard, or fed in the window: a row each, with its verdict.
_VEHICLES = f"""
with summed as (
  select vehicle_id, sum(kwh) as dc_kwh, sum(ac_kwh) as ac_kwh, sum(readings) as readings,
         sum(fed_readings) as meter_readings, sum(battery_temp_sum) as temperature_sum,
         max(battery_temp_max) as temperature_max, sum(implausible) as implausible, bool_or(shared) as shared
  from vehicle_hourly where hour >= %(start)s and hour < %(end)s group by vehicle_id
),
vehicle as (
  select vehicle_id, coalesce(ac_kwh, 0) as ac_kwh, coalesce(dc_kwh, 0) as dc_kwh,
         case when ac_kwh > 0 then dc_kwh / ac_kwh end as efficiency,
         case when meter_readings > 0 then ac_kwh - dc_kwh end as loss_kwh,
         temperature_sum / nullif(readings, 0) as temperature, temperature_max,
         coalesce(readings, 0)::int as readings, coalesce(meter_readings, 0)::int as meter_readings,
         coalesce(implausible, 0)::int as implausible, coalesce(shared, false) as shared,
         coalesce(heartbeat_seconds, %(heartbeat_seconds)s) as heartbeat_seconds,
         %(seconds)s / coalesce(heartbeat_seconds, %(heartbeat_seconds)s) as expected
  from summed full join vehicle_readings_live as live using (vehicle_id)
  left join devices on devices.kind = 'vehicle' and devices.device_id = vehicle_id
  where {{bound}}
),
judged as (
  select *, {_STATUS} as status, {_COMPLETENESS} as completeness
  from vehicle
)
"""
_TOTALS = """
select coalesce(sum(ac_kwh) filter (where meter_readings > 0), 0) as ac_kwh,
       coalesce(sum(dc_kwh) filter (where meter_readings > 0), 0) as dc_kwh,
       coalesce(sum(dc_kwh) filter (where meter_readings = 0), 0) as unmetered_dc_kwh,
       count(*) filter (where status = 'healthy') as healthy,
       count(*) filter (where status = 'degraded') as degraded,
       count(*) filter (where status = 'unknown') as unknown,
       coalesce(sum(readings), 0)::int8 as readings, coalesce(sum(implausible), 0)::int8 as implausible,
       (sum(least(readings, expected)) / nullif(sum(expected), 0))::float8 as completeness,
       (select coalesce(jsonb_agg(to_jsonb(worst)), '[]') from ({worst}) as worst where efficiency is not null) as worst
from judged
"""
# Ascending: a value that is not known comes last.
ORDERS = {"efficiency": "efficiency", "loss": "-loss_kwh", "temperature": "-temperature"}
_RANKED = """
select vehicle_id, ac_kwh, dc_kwh, efficiency, loss_kwh, temperature, temperature_max, readings, meter_readings,
       completeness, implausible, shared, status, rank
from (select *, coalesce({order}, 'infinity') as rank from judged) as ranked
where (%(status)s::text is null or status = %(status)s)
  and (%(after_rank)s::float8 is null or (rank, vehicle_id) > (%(after_rank)s, %(after_id)s))
order by rank, vehicle_id limit %(limit)s
"""


def get_totals(connection: psycopg.Connection, fleet_query: FleetQuery) -> Totals:
    """Of the whole window; `worst` has the lowest efficiencies. One pass over its hours of vehicles, one of meters."""
    totals = _TOTALS.format(worst=_RANKED.format(order=ORDERS["efficiency"]))
    query = _VEHICLES.format(bound=fleet_query.bound("vehicle_id")) + totals
    values = fleet_query.values | {"status": None, "after_rank": None, "after_id": None, "limit": WORST}
    row = connection.cursor(row_factory=dict_row).execute(query, values).fetchone()
    unmapped = None if fleet_query.binding else _counted(connection, fleet_query) - row["ac_kwh"]
    worst = [VehicleTotals(**vehicle) for vehicle in row.pop("worst")]
    return Totals(**row, worst=worst, unmapped_ac_kwh=unmapped)


def _counted(connection: psycopg.Connection, fleet_query: FleetQuery) -> float:
    """What all meters counted, whomever they fed."""
    return connection.execute(
        "select coalesce(sum(kwh), 0) from meter_hourly where hour >= %(start)s and hour < %(end)s", fleet_query.values
    ).fetchone()[0]


def list_vehicles(
    connection: psycopg.Connection,
    fleet_query: FleetQuery,
    *,
    sort: str,
    limit: int,
    status: str | None = None,
    after: tuple[float, str] | None = None,
) -> list[VehicleTotals]:
    """Up to `limit` vehicles in one of ORDERS, the worst first, from the one behind `after` (rank and id) on."""
    rank, vehicle_id = after or (None, None)
    query = _VEHICLES.format(bound=fleet_query.bound("vehicle_id")) + _RANKED.format(order=ORDERS[sort])
    values = fleet_query.values | {"status": status, "after_rank": rank, "after_id": vehicle_id, "limit": limit}
    return connection.cursor(row_factory=class_row(VehicleTotals)).execute(query, values).fetchall()


def count_offline(connection: psycopg.Connection, fleet_query: FleetQuery, silent_since: datetime) -> dict[str, int]:
    """By kind, the devices that were heard once and not since then. Live rows, all of them."""
    return {
        kind.name: connection.execute(
            f"""select count(*) from {kind.live}
                where recorded_at < %(since)s and {fleet_query.bound(kind.device_column)}""",
            fleet_query.values | {"since": silent_since},
        ).fetchone()[0]
        for kind in KINDS.values()
    }
