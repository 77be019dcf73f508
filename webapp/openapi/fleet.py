"""The fleet."""

from models.settings import Settings
from webapp.analytics.fleet import STATUSES, FleetSchema, FleetVehiclesSchema, TrendSchema
from webapp.openapi.answers import answer
from webapp.openapi.components import COST_FIELDS, COUNT, TIME, VEHICLE_ID, or_null, record, said, schema
from webapp.openapi.fields import query_parameters
from webapp.openapi.operations import Operations, operation

_PATH = "/v1/analytics/fleet"
_SIGNED_KWH = {"type": "number", "description": "kWh"}
_RATIO = {"type": ["number", "null"], "description": "DC/AC; null: no AC energy was measured"}
_SHARE = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
_STATUS = {"type": "string", "enum": list(STATUSES)}
_HEADER = {
    "window": record("[from, to): it ends at the watermark.", {"from": TIME, "to": TIME}),
    "watermark": said(or_null(TIME), "everything recorded before it is rolled up; null: nothing is yet"),
    "recomputing": said(COUNT, "changes of what was rolled up that are yet to be counted"),
}
_ENERGY = {
    "totalAcConsumption": said(_SIGNED_KWH, "kWh that meters counted for the vehicles they fed"),
    "totalDcDelivery": said(_SIGNED_KWH, "kWh that reached the batteries of vehicles that were fed in the window"),
    "efficiencyRatio": _RATIO,
    "loss": said(_SIGNED_KWH, "kWh: AC less DC of the vehicles that were fed"),
}
_UNMETERED = said(_SIGNED_KWH, "kWh that reached batteries of vehicles that no meter fed in the window")
_IMPLAUSIBLE = said(COUNT, "readings of vehicles whose energy was left out: more than the rated power allows")


def schemas(settings: Settings) -> dict[str, dict]:
    vehicle = record(
        "A vehicle in the window.",
        {
            "vehicleId": VEHICLE_ID,
            "status": said(_STATUS, f"`degraded`: the ratio is below {settings.alert_threshold:g} %"),
            "totalAcConsumption": said(_SIGNED_KWH, "kWh, its part of what its meters counted"),
            "totalDcDelivery": said(_SIGNED_KWH, "kWh that reached the battery"),
            "efficiencyRatio": _RATIO,
            "loss": {"type": ["number", "null"], "description": "kWh: AC less DC; null: no meter fed it"},
            "avgBatteryTemp": {"type": ["number", "null"], "description": "°C"},
            "maxBatteryTemp": {"type": ["number", "null"], "description": "°C"},
            "dataPoints": said(COUNT, "distinct instants at which it was heard"),
            "meterDataPoints": said(COUNT, "distinct instants at which its meters were heard while they fed it"),
            "completeness": said(_SHARE, "`dataPoints` of those expected by its heartbeat"),
            "implausible": _IMPLAUSIBLE,
            "shared": {"type": "boolean", "description": "a meter of its fed others at the same time"},
        },
    )
    statuses = {"known": said(COUNT, "ever heard, or fed in the window"), **dict.fromkeys(STATUSES, COUNT)}
    summary = record(
        "The whole fleet in the window.",
        {
            **_HEADER,
            **_ENERGY,
            "unmeteredDcDelivery": _UNMETERED,
            "unmappedAcConsumption": {
                "type": ["number", "null"],
                "description": "kWh that meters counted while they fed no vehicle; null for a key bound to devices",
            },
            "vehicles": record("How many, by status.", statuses),
            "dataPoints": said(COUNT, "distinct instants at which vehicles were heard"),
            "completeness": said(_SHARE, "readings of vehicles seen, of those expected by their heartbeats"),
            "implausible": _IMPLAUSIBLE,
            **COST_FIELDS,
            "costs": {
                "type": ["array", "null"],
                "items": schema("Cost"),
                "description": "by currency; empty: no tariff applies; null: prices change within too many hours",
            },
            "offline": record(
                f"Heard once, and not within {settings.offline_after_seconds} seconds.",
                {"vehicles": COUNT, "meters": COUNT},
            ),
            "worst": {
                "type": "array",
                "items": schema("FleetVehicle"),
                "maxItems": 10,
                "description": "the lowest efficiencies",
            },
        },
    )
    bucket = record(
        "A part of the window. Parts add up to the whole.",
        {
            "from": TIME,
            "to": TIME,
            **_ENERGY,
            "unmeteredDcDelivery": _UNMETERED,
            "vehicles": said(COUNT, "heard or fed in it; of a day: in the hour in which most were"),
            "dataPoints": COUNT,
            "implausible": _IMPLAUSIBLE,
        },
    )
    trend = record(
        "The fleet's course.",
        {
            **_HEADER,
            "bucket": {"type": "string", "enum": ["1h", "1d"]},
            "items": {"type": "array", "items": schema("FleetBucket")},
        },
    )
    page = record(
        "A page of vehicles. All pages of a list have the window of the first.",
        {
            **_HEADER,
            "items": {"type": "array", "items": schema("FleetVehicle")},
            "next": {"type": ["string", "null"], "description": "the `cursor` of the next page; null: the last"},
        },
    )
    return {
        "FleetVehicle": vehicle,
        "FleetSummary": summary,
        "FleetBucket": bucket,
        "FleetTrend": trend,
        "FleetVehicles": page,
    }


def operations() -> Operations:
    note = "From hourly roll-ups, up to the watermark. A key bound to devices sees these vehicles only."
    for path, name, summary, component, asked in (
        ("", "getFleet", "Show the fleet at a glance", "FleetSummary", FleetSchema),
        ("/trend", "getFleetTrend", "Show the fleet's course, empty buckets included", "FleetTrend", TrendSchema),
        ("/vehicles", "listFleetVehicles", "List vehicles, the worst first", "FleetVehicles", FleetVehiclesSchema),
    ):
        yield (
            _PATH + path,
            "get",
            operation(
                "Analytics",
                name,
                summary,
                {200: answer("As of the watermark", schema(component))},
                errors="422 503",
                needs=("read",),
                description=note,
                parameters=query_parameters(asked),
            ),
        )
