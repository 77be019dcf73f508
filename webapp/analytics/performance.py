"""Performance: what went in, what came out, and how warm the battery was."""

from flask import Blueprint, request

from models.analytics.energy.efficiency import completeness, status
from models.analytics.energy.feeds import EnergyQuery
from models.analytics.energy.performance import Performance, get_performance
from models.analytics.money.costs import get_costs
from webapp.analytics.costs import present_costs
from webapp.http.auth import require_devices
from webapp.http.clock import request_time
from webapp.http.errors import ApiError
from webapp.http.fields import DEVICE_ID, AnalyticsWindowSchema, QuerySchema, device_id
from webapp.http.resources import current_resources, database

bp = Blueprint("analytics", __name__, url_prefix="/v1/analytics")


class VehicleQuerySchema(QuerySchema):
    vehicleId = device_id(required=True)


@bp.get("/performance/<vehicle_id>")
def show_performance(vehicle_id: str):
    performance, costs, start, end = _performance(vehicle_id)
    settings = current_resources().settings
    ac, dc = _round(performance.ac_kwh, 6), _round(performance.dc_kwh, 6)
    ratio = _round(performance.efficiency, 4)
    return {
        "vehicleId": vehicle_id,
        "window": {"from": start, "to": end},
        "meters": performance.meters,
        "shared": performance.shared,
        "meterShares": meter_shares(performance),
        "totalAcConsumption": ac,
        "totalDcDelivery": dc,
        "efficiencyRatio": ratio,
        "avgBatteryTemp": _round(performance.temperature, 2),
        "dataPoints": performance.vehicle_points,
        "meterDataPoints": performance.meter_points,
        "completeness": _round(
            completeness(
                performance.vehicle_points,
                start,
                end,
                heartbeat_seconds=performance.heartbeat_seconds,
                now=request_time(),
            ),
            4,
        ),
        "implausible": performance.implausible,
        "status": status(performance.dc_kwh, performance.ac_kwh, settings.alert_threshold),
        **present_costs(costs),
        # The same under the names that older clients know.
        "acEnergyConsumed": ac,
        "dcEnergyDelivered": dc,
        "efficiency": ratio,
    }


@bp.get("/performance/vehicleid")
def show_performance_by_query():
    """The older form of the question, with the names and the unit it had: efficiency in percent."""
    vehicle_id = VehicleQuerySchema().load(request.args)["vehicleId"]
    performance, *_ = _performance(vehicle_id)
    efficiency = performance.efficiency
    return {
        "vehicleId": vehicle_id,
        "sumDC": _round(performance.dc_kwh, 6),
        "sumAC": _round(performance.ac_kwh, 6),
        "efficiency": None if efficiency is None else round(efficiency * 100, 2),
        "avgBatteryTemp": _round(performance.temperature, 2),
    }


def _performance(vehicle_id: str):
    query = AnalyticsWindowSchema().load(request.args)
    start, end = query["start"], query["end"]
    if not DEVICE_ID.match(vehicle_id):
        raise ApiError(404, "Vehicle not found")
    require_devices(vehicle_id)  # its meters come with it
    with database() as connection:
        heartbeat = {"heartbeat_seconds": current_resources().settings.heartbeat_seconds}
        performance = get_performance(connection, vehicle_id, start, end, **heartbeat)
        costs = get_costs(connection, [EnergyQuery(vehicle_id, start, end)], **heartbeat)[0]
    if not performance.known:
        raise ApiError(404, "Vehicle not found")
    return performance, costs, start, end


def meter_shares(performance: Performance) -> list[dict]:
    """What each meter gave the vehicle."""
    return [
        {"meterId": meter_id, "shared": shared, "acConsumption": _round(kwh, 6), "meterDataPoints": points}
        for meter_id, shared, kwh, points in zip(
            performance.meters,
            performance.meters_shared,
            performance.meters_kwh,
            performance.meters_points,
            strict=True,
        )
    ]


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits) + 0.0  # no -0.0
