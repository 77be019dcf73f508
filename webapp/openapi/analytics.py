"""Performance."""

from models.settings import Settings
from webapp.analytics.performance import VehicleQuerySchema
from webapp.http.fields import AnalyticsWindowSchema
from webapp.openapi.answers import answer
from webapp.openapi.components import (
    COST_FIELDS,
    COUNT,
    IMPLAUSIBLE,
    METER_ID,
    METER_IDS,
    NET_KWH,
    SHARED,
    TIME,
    VEHICLE_ID,
    record,
    said,
    schema,
)
from webapp.openapi.fields import IN_A_QUERY, query_parameters
from webapp.openapi.operations import Operations, in_path, operation

_WINDOW = {
    "from": "Start, included. Left out: 24 hours before `to`." + IN_A_QUERY,
    "to": "End, not included; at most 31 days after `from`. Left out: now." + IN_A_QUERY,
}


_METER_SHARES = {
    "type": "array",
    "description": "what each of the meters gave the vehicle",
    "items": record(
        "Of one meter.",
        {
            "meterId": METER_ID,
            "shared": {"type": "boolean", "description": "it fed other vehicles at the same time"},
            "acConsumption": {"type": "number", "description": "kWh of it that are this vehicle's"},
            "meterDataPoints": said(COUNT, "distinct instants at which it was heard while it fed the vehicle"),
        },
    ),
}


def schemas(settings: Settings) -> dict[str, dict]:
    return {
        "Performance": record("A vehicle over a window.", _performance(settings)),
        "PerformanceInPercent": record(
            "A vehicle over a window, in the older words.",
            {
                "vehicleId": VEHICLE_ID,
                "sumDC": NET_KWH,
                "sumAC": NET_KWH,
                "efficiency": {"type": ["number", "null"], "description": "DC/AC in percent"},
                "avgBatteryTemp": {"type": ["number", "null"], "description": "°C"},
            },
        ),
    }


def _performance(settings: Settings) -> dict:
    ratio = {"type": ["number", "null"], "description": "DC/AC; null: no AC energy was measured"}
    return {
        "vehicleId": VEHICLE_ID,
        "window": record("[from, to)", {"from": TIME, "to": TIME}),
        "meters": said(METER_IDS, "that fed the vehicle at some time of the window, by a mapping or a session"),
        "shared": SHARED,
        "meterShares": _METER_SHARES,
        "totalAcConsumption": said(NET_KWH, "kWh, of these meters, each while it fed the vehicle"),
        "totalDcDelivery": said(NET_KWH, "kWh that reached the battery"),
        "efficiencyRatio": ratio,
        "avgBatteryTemp": {"type": ["number", "null"], "description": "°C; null: no reading in the window"},
        "dataPoints": said(COUNT, "distinct instants at which the vehicle was heard"),
        "meterDataPoints": said(COUNT, "distinct instants at which each of the meters was heard, summed"),
        "completeness": {
            "type": ["number", "null"],
            "minimum": 0,
            "maximum": 1,
            "description": "`dataPoints` of those expected, one in `heartbeatSeconds` of the vehicle, else "
            f"{settings.heartbeat_seconds} seconds; nothing is expected of the future, null: all of the window is",
        },
        "implausible": IMPLAUSIBLE,
        "status": {
            "type": "string",
            "enum": ["healthy", "degraded", "unknown"],
            "description": f"`degraded`: the ratio is below {settings.alert_threshold:g} %; `unknown`: it is null",
        },
        **COST_FIELDS,
        "acEnergyConsumed": said(NET_KWH, "`totalAcConsumption` under another name"),
        "dcEnergyDelivered": said(NET_KWH, "`totalDcDelivery` under another name"),
        "efficiency": said(ratio, "`efficiencyRatio` under another name"),
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
