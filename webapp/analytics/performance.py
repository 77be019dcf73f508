"""Performance of a vehicle over a window: energy in, energy out and the battery's temperature."""

from collections.abc import Mapping
from typing import Annotated, Any

from flask import Blueprint
from msgspec import Meta, field

from models.access.keys import READ
from models.analytics.energy import performance as energy
from models.analytics.energy.efficiency import completeness, status
from models.analytics.energy.queries import EnergyQuery
from models.analytics.money import costs as money
from webapp.analytics.costs import Priced, cost_fields
from webapp.analytics.quantities import Implausible, Shared, Status
from webapp.http.answers import (
    Celsius,
    Count,
    JsonObject,
    Kwh,
    MeterId,
    Ratio,
    Share,
    VehicleId,
    Window,
    round_celsius,
    round_kwh,
    round_percent,
    round_ratio,
)
from webapp.http.auth import require_devices
from webapp.http.clock import request_time
from webapp.http.errors import not_found
from webapp.http.fields import AnalyticsWindowSchema, device_id
from webapp.http.operations import operation
from webapp.http.resources import current_resources, database

bp = Blueprint("performance", __name__, url_prefix="/v1/analytics/performance")


class VehicleWindowSchema(AnalyticsWindowSchema):
    vehicle_id = device_id(data_key="vehicleId", required=True, metadata={"example": "V001"})


class MeterShare(JsonObject):
    """The energy of one meter that is this vehicle's."""

    meter_id: MeterId
    shared: Annotated[bool, Meta(description="it fed other vehicles at the same time")]
    ac_consumption: Annotated[Kwh, Meta(description="kWh of it that are this vehicle's")]
    meter_data_points: Annotated[Count, Meta(description="distinct instants of its readings while it fed the vehicle")]


class Performance(Priced):
    """A vehicle over a window."""

    vehicle_id: VehicleId
    window: Window
    meters: Annotated[
        list[MeterId],
        Meta(description="that fed the vehicle at some time of the window, by a mapping or a session"),
    ]
    shared: Shared
    meter_shares: Annotated[list[MeterShare], Meta(description="by meter")]
    total_ac_consumption: Annotated[Kwh, Meta(description="kWh, of these meters, each while it fed the vehicle")]
    total_dc_delivery: Annotated[Kwh, Meta(description="kWh that reached the battery")]
    efficiency_ratio: Ratio
    avg_battery_temp: Celsius
    data_points: Annotated[Count, Meta(description="distinct instants of the vehicle's readings")]
    meter_data_points: Annotated[Count, Meta(description="distinct instants of each meter's readings, summed")]
    completeness: Annotated[
        Share | None,
        Meta(
            description="`dataPoints` of those expected, one in each `heartbeatSeconds` of the vehicle, else "
            "{heartbeat_seconds} seconds, and none in the future; null: none was expected"
        ),
    ]
    implausible: Implausible
    status: Status
    ac_energy_consumed: Annotated[Kwh, Meta(description="`totalAcConsumption` under the name of older clients")]
    dc_energy_delivered: Annotated[Kwh, Meta(description="`totalDcDelivery` under the name of older clients")]
    efficiency: Annotated[Ratio, Meta(description="`efficiencyRatio` under the name of older clients")]


class PerformanceInPercent(JsonObject):
    """A vehicle over a window, with the names and the unit of older clients."""

    vehicle_id: VehicleId
    sum_dc: Kwh = field(name="sumDC")
    sum_ac: Kwh = field(name="sumAC")
    efficiency: Annotated[float | None, Meta(description="DC/AC in percent; null: no AC energy was measured")]
    avg_battery_temp: Celsius


@bp.get("/<vehicle_id>")
@operation(
    "Analytics",
    "Show the energy and efficiency of a vehicle",
    scopes=(READ,),
    errors=(404,),
    query=AnalyticsWindowSchema,
    answers={200: "Zeros and nulls if the vehicle has no readings in the window"},
)
def get_performance(vehicle_id: VehicleId, query: Mapping[str, Any]) -> Performance:
    """An instant of a device counts once: the reading that was accepted last."""
    found, costs = _find(vehicle_id, query)
    ac, dc, ratio = round_kwh(found.ac_kwh), round_kwh(found.dc_kwh), round_ratio(found.efficiency)
    share = completeness(
        found.vehicle_points,
        query["start"],
        query["end"],
        heartbeat_seconds=found.heartbeat_seconds,
        now=request_time(),
    )
    return Performance(
        vehicle_id=vehicle_id,
        window=Window(start=query["start"], end=query["end"]),
        meters=found.meters,
        shared=found.shared,
        meter_shares=[
            MeterShare(
                meter_id=each.meter_id,
                shared=each.shared,
                ac_consumption=round_kwh(each.kwh),
                meter_data_points=each.points,
            )
            for each in found.meter_shares
        ],
        total_ac_consumption=ac,
        total_dc_delivery=dc,
        efficiency_ratio=ratio,
        avg_battery_temp=round_celsius(found.temperature),
        data_points=found.vehicle_points,
        meter_data_points=found.meter_points,
        completeness=round_ratio(share),
        implausible=found.implausible,
        status=status(found.dc_kwh, found.ac_kwh, current_resources().settings.alert_threshold),
        ac_energy_consumed=ac,
        dc_energy_delivered=dc,
        efficiency=ratio,
        **cost_fields(costs),
    )


@bp.get("/vehicleid")
@operation(
    "Analytics",
    "Show the energy and efficiency of a vehicle, in the older form",
    scopes=(READ,),
    errors=(404,),
    query=VehicleWindowSchema,
    answers={200: "With the efficiency in percent"},
    deprecated=True,
)
def get_performance_in_percent(query: Mapping[str, Any]) -> PerformanceInPercent:
    found, _ = _find(query["vehicle_id"], query)
    return PerformanceInPercent(
        vehicle_id=query["vehicle_id"],
        sum_dc=round_kwh(found.dc_kwh),
        sum_ac=round_kwh(found.ac_kwh),
        efficiency=None if found.efficiency is None else round_percent(found.efficiency * 100),
        avg_battery_temp=round_celsius(found.temperature),
    )


def _find(vehicle_id: str, query: Mapping[str, Any]) -> tuple[energy.Performance, list[money.Cost]]:
    require_devices(vehicle_id)  # the answer covers its meters too
    start, end, heartbeat_seconds = query["start"], query["end"], current_resources().settings.heartbeat_seconds
    with database() as connection:
        found = energy.get_performance(connection, vehicle_id, start, end, heartbeat_seconds=heartbeat_seconds)
        costs = money.get_costs(connection, [EnergyQuery(vehicle_id, start, end)], heartbeat_seconds=heartbeat_seconds)
    if not found.known:
        raise not_found("vehicle")
    return found, costs[0]
