"""Performance."""

from webapp.openapi.answers import answer
from webapp.openapi.components import VEHICLE_ID, schema
from webapp.openapi.fields import IN_A_QUERY, query_parameters
from webapp.openapi.operations import Operations, in_path, operation
from webapp.schemas import AnalyticsWindowSchema, VehicleQuerySchema

_WINDOW = {
    "from": "Start, included. Left out: 24 hours before `to`." + IN_A_QUERY,
    "to": "End, not included; at most 31 days after `from`. Left out: now." + IN_A_QUERY,
}


def operations() -> Operations:
    window = query_parameters(AnalyticsWindowSchema, _WINDOW)
    yield (
        "/v1/analytics/performance/{vehicleId}",
        "get",
        operation(
            "Analytics",
            "getPerformance",
            "Show what a vehicle did with its energy",
            {200: answer("Zeros and nulls where it is known but was silent", schema("Performance"))},
            errors="404 422 503",
            needs=("read",),
            description="A device's instant counts once, with the submission accepted last.",
            parameters=[in_path("vehicleId", VEHICLE_ID), *window],
        ),
    )
    yield (
        "/v1/analytics/performance/vehicleid",
        "get",
        operation(
            "Analytics",
            "getPerformanceInPercent",
            "The same, in the older form",
            {200: answer("With the efficiency in percent", schema("PerformanceInPercent"))},
            errors="404 422 503",
            needs=("read",),
            deprecated=True,
            parameters=[*query_parameters(VehicleQuerySchema), *window],
        ),
    )
