"""The vehicles of the fleet with their energy in a window, the worst first."""

from collections.abc import Mapping
from typing import Annotated, Any

from flask import Blueprint
from marshmallow import fields, validate
from msgspec import Meta

from models.access.keys import READ
from models.analytics.energy.efficiency import STATUSES
from models.analytics.fleet.summary import ORDERS, VehicleTotals, list_vehicles
from webapp.analytics.quantities import OwnImplausible, Shared, Status
from webapp.analytics.rolled_up import FleetWindowSchema, RolledUp, fleet_read
from webapp.http.answers import (
    Celsius,
    Count,
    JsonObject,
    Kwh,
    NextCursor,
    Ratio,
    Share,
    VehicleId,
    round_celsius,
    round_kwh,
    round_ratio,
)
from webapp.http.fields import DevicePageSchema
from webapp.http.operations import operation
from webapp.http.paging import decode_cursor, page

bp = Blueprint("fleet_vehicles", __name__, url_prefix="/v1/analytics/fleet")


class FleetVehiclesSchema(FleetWindowSchema, DevicePageSchema):
    sort = fields.String(
        load_default="efficiency",
        validate=validate.OneOf(list(ORDERS)),
        metadata={"description": "the lowest efficiency, the greatest loss or the highest mean temperature first"},
    )
    status = fields.String(
        load_default=None, validate=validate.OneOf(STATUSES), metadata={"description": "only vehicles of this status"}
    )


class FleetVehicle(JsonObject):
    """A vehicle in the window."""

    vehicle_id: VehicleId
    status: Status
    total_ac_consumption: Annotated[Kwh, Meta(description="kWh, its part of what its meters counted")]
    total_dc_delivery: Annotated[Kwh, Meta(description="kWh that reached the battery")]
    efficiency_ratio: Ratio
    loss: Annotated[Kwh | None, Meta(description="kWh: AC less DC; null: no meter fed it")]
    avg_battery_temp: Celsius
    max_battery_temp: Celsius
    data_points: Annotated[Count, Meta(description="distinct instants of its readings")]
    meter_data_points: Annotated[Count, Meta(description="distinct instants of its meters' readings while they fed it")]
    completeness: Annotated[Share | None, Meta(description="`dataPoints` of those expected by its heartbeat")]
    implausible: OwnImplausible
    shared: Shared


class FleetVehicles(RolledUp):
    """A page of vehicles. All pages of a list have the window of the first."""

    items: list[FleetVehicle]
    next: NextCursor


def present_vehicle(found: VehicleTotals) -> FleetVehicle:
    return FleetVehicle(
        vehicle_id=found.vehicle_id,
        status=found.status,
        total_ac_consumption=round_kwh(found.ac_kwh),
        total_dc_delivery=round_kwh(found.dc_kwh),
        efficiency_ratio=round_ratio(found.efficiency),
        loss=round_kwh(found.loss_kwh),
        avg_battery_temp=round_celsius(found.temperature),
        max_battery_temp=round_celsius(found.temperature_max),
        data_points=found.readings,
        meter_data_points=found.meter_readings,
        completeness=round_ratio(found.completeness),
        implausible=found.implausible,
        shared=found.shared,
    )


@bp.get("/vehicles")
@operation("Analytics", "List the vehicles of the fleet, the worst first", scopes=(READ,), query=FleetVehiclesSchema)
def list_fleet_vehicles(query: Mapping[str, Any]) -> FleetVehicles:
    """From hourly roll-ups, up to the watermark. A key that is bound to devices gets these vehicles only."""
    after = decode_cursor(query["cursor"], int, float, str)
    with fleet_read(query["window"], ends=after[0] if after else None) as read:
        found = list_vehicles(
            read.connection,
            read.query,
            sort=query["sort"],
            status=query["status"],
            site=query["site"],
            search=query["search"],
            after=after[1:] if after else None,
            limit=query["limit"] + 1,
        )
    ends = int(read.query.window.end.timestamp())
    found, following = page(found, query["limit"], lambda last: (ends, last.rank, last.vehicle_id))
    return FleetVehicles(**read.fields(), items=[present_vehicle(vehicle) for vehicle in found], next=following)
