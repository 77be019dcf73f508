"""The shapes of bodies and answers."""

from models.settings import Settings
from webapp.openapi.fields import object_schema, properties
from webapp.schemas import MappingSchema, MeterReadingSchema, VehicleReadingSchema

# ── Words ────────────────────────────────────────────────────────────────────────────────────────────────────

TEXT = {"type": "string"}
TIME = {"type": "string", "format": "date-time", "example": "2026-02-10T10:30:00Z"}
COUNT = {"type": "integer", "minimum": 0}
KWH = {"type": "number", "minimum": 0, "description": "kWh"}
METER_ID = properties(MeterReadingSchema, "meterId")["meterId"]
VEHICLE_ID = properties(VehicleReadingSchema, "vehicleId")["vehicleId"]
METER_IDS = {"type": "array", "items": METER_ID}
RECEIPT = {
    "type": "string",
    "pattern": "^[0-9]{1,2}-[0-9]{1,16}-[0-9]{1,16}$",
    "description": "names what this request put into the stream; opaque",
    "example": "1-1795218259495-0",
}


def schema(name: str) -> dict:
    return {"$ref": f"#/components/schemas/{name}"}


def said(shape: dict, description: str) -> dict:
    return {**shape, "description": description}


def or_null(shape: dict) -> dict:
    return {**shape, "type": [shape["type"], "null"]}


def record(description: str, fields: dict, optional: tuple[str, ...] = ()) -> dict:
    """An object of ours: these fields and no others, all of them there but the optional ones."""
    return {
        "type": "object",
        "description": description,
        "properties": fields,
        "required": [name for name in fields if name not in optional],
        "additionalProperties": False,
    }


def page_of(item: str) -> dict:
    following = {"type": ["string", "null"], "description": "the `cursor` of the next page; null: this is the last"}
    return record("A page of a list.", {"items": {"type": "array", "items": schema(item)}, "next": following})


# ── Shapes ───────────────────────────────────────────────────────────────────────────────────────────────────

_METER = {"meterId": METER_ID, "timestamp": TIME, "receivedAt": said(TIME, "when the service accepted it")}
_METER_VALUES = properties(MeterReadingSchema, "kwhConsumedAc", "voltage")
_VEHICLE = {"vehicleId": VEHICLE_ID, "timestamp": TIME, "receivedAt": said(TIME, "when the service accepted it")}
_VEHICLE_VALUES = properties(VehicleReadingSchema, "kwhDeliveredDc", "batteryTemp", "soc")
_SOC = said(_VEHICLE_VALUES["soc"], "state of charge in percent; null: the reading told none")
_SOC_NOW = said(_SOC, "state of charge in percent, of the newest reading that told one; null: none ever did")

_FIELD_ERRORS = {
    "type": "object",
    "description": "why, by field; `_schema` for what is wrong with the whole",
    "additionalProperties": {"type": "array", "items": TEXT},
}
_ERROR = {
    "statusCode": {"type": "integer", "minimum": 400, "maximum": 599},
    "path": TEXT,
    "message": said(TEXT, "for a person"),
    "timestamp": TIME,
    "requestId": said(TEXT, "as in X-Request-ID; leads to the log"),
    "errors": {"anyOf": [schema("FieldErrors"), {"type": "array", "items": schema("RowErrors")}]},
}
_CHECK = record(
    "What was found of one part.",
    {
        "ok": {"type": ["boolean", "null"], "description": "null: can't be told, as another part is away"},
        "detail": said(TEXT, "for a person"),
        "figures": {
            "type": "object",
            "description": "for a program; units are in the names",
            "additionalProperties": {"type": ["number", "string"]},
        },
    },
)
_PARTS = (
    "postgres", "migrations", "partitions", "redis", "durability", "backlog", "drain", "stream", "beat", "workers",
)  # fmt: skip
_CHECKS = {name: schema("Check") for name in _PARTS}


def schemas(settings: Settings) -> dict[str, dict]:
    online = {
        "type": "boolean",
        "description": f"whether `lastSeen` is at most {settings.offline_after_seconds} seconds ago",
    }
    live = {"lastSeen": said(TIME, "the newest reading's `timestamp`"), "online": online}
    return {
        "MeterReading": object_schema(
            MeterReadingSchema, type=_type("meter"), timestamp={"description": _timestamp_rule(settings)}
        ),
        "VehicleReading": object_schema(
            VehicleReadingSchema, type=_type("vehicle"), timestamp={"description": _timestamp_rule(settings)}
        ),
        "Reading": {
            "description": "A meter's or a vehicle's. `type` may be left out where there is only one of "
            "`meterId` and `vehicleId`.",
            "oneOf": [schema("MeterReading"), schema("VehicleReading")],
        },
        "Accepted": record(
            "What was accepted: a promise.",
            {
                "message": {"type": "string", "const": "Data ingested successfully"},
                "accepted": {"type": "integer", "minimum": 1},
                "rejected": COUNT,
                "errors": {"type": "array", "items": schema("RowErrors"), "maxItems": 100},
                "receipt": RECEIPT,
            },
            optional=("errors",),
        )
        | {
            "example": {
                "message": "Data ingested successfully",
                "accepted": 2,
                "rejected": 0,
                "receipt": RECEIPT["example"],
            }
        },
        "RowErrors": record(
            "Why one reading of several was refused. The first 100 are listed.",
            {"index": said(COUNT, "its place among the readings sent, from 0"), "errors": schema("FieldErrors")},
        ),
        "FieldErrors": _FIELD_ERRORS,
        "Error": record(
            "Whatever went wrong.",
            {
                **_ERROR,
                "accepted": {"type": "integer", "const": 0, "description": "with a list of errors: nothing was taken"},
                "rejected": {"type": "integer", "minimum": 1, "description": "with a list of errors: how many"},
            },
            optional=("errors", "accepted", "rejected"),
        ),
        "ReceiptState": record(
            "What became of what a request put into the stream.",
            {
                "receipt": RECEIPT,
                "state": {
                    "type": "string",
                    "enum": ["pending", "stored", "dead-lettered", "partly-dead-lettered"],
                    "description": "`pending`: not in Postgres yet. `stored`: all in history. "
                    "`dead-lettered`: refused by the database for good, and kept with the reason.",
                },
                "deadLetters": said(COUNT, "readings of it among the dead letters"),
            },
        ),
        "StoredMeterReading": record("A reading of history.", {**_METER, **_METER_VALUES}),
        "StoredVehicleReading": record("A reading of history.", {**_VEHICLE, **_VEHICLE_VALUES, "soc": _SOC}),
        "LiveMeter": record("A meter as last heard.", {**_METER, **_METER_VALUES, **live}),
        "LiveVehicle": record(
            "A vehicle as last heard.",
            {
                **_VEHICLE,
                **_VEHICLE_VALUES,
                "soc": _SOC_NOW,
                **live,
                "meters": said(METER_IDS, "the meters now mapped to it"),
            },
        ),
        "NewMapping": object_schema(MappingSchema),
        "Mapping": record(
            "The meter feeds the vehicle's charger in [from, to).",
            {
                "vehicleId": VEHICLE_ID,
                "meterId": METER_ID,
                "from": said(or_null(TIME), "null: always"),
                "to": said(or_null(TIME), "null: until told otherwise"),
            },
        ),
        "Performance": record("A vehicle over a window.", _performance(settings)),
        "PerformanceInPercent": record(
            "A vehicle over a window, in the older words.",
            {
                "vehicleId": VEHICLE_ID,
                "sumDC": KWH,
                "sumAC": KWH,
                "efficiency": {"type": ["number", "null"], "minimum": 0, "description": "DC/AC in percent"},
                "avgBatteryTemp": {"type": ["number", "null"], "description": "°C"},
            },
        ),
        "Check": _CHECK,
        "Ready": record(
            "All parts work.",
            {"status": {"type": "string", "const": "ready"}, "checks": record("Each part by name.", _CHECKS)},
        ),
        "NotReady": record(
            "An error that also says how each part is.",
            {
                **_ERROR,
                "errors": schema("FieldErrors"),
                "checks": record("Each part by name.", _CHECKS),
            },
        ),
    }


def _type(kind: str) -> dict:
    any_case = "".join(f"[{letter.upper()}{letter}]" for letter in kind)
    return {"pattern": f"^{any_case}$", "description": f"`{kind}`, in any letter case", "example": kind}


def _timestamp_rule(settings: Settings) -> str:
    oldest = f"older than {settings.retention_days} days" if settings.retention_days else "before 2000-01-01"
    return (
        f"when it was measured, ISO 8601 with a zone; not {oldest}, "
        f"and at most {settings.max_clock_skew_seconds} seconds ahead of the service's clock"
    )


def _performance(settings: Settings) -> dict:
    ratio = {"type": ["number", "null"], "minimum": 0, "description": "DC/AC; null: no AC energy was measured"}
    return {
        "vehicleId": VEHICLE_ID,
        "window": record("[from, to)", {"from": TIME, "to": TIME}),
        "meters": said(METER_IDS, "mapped to the vehicle at some time of the window"),
        "totalAcConsumption": said(KWH, "kWh, of the mapped meters, each within its mapping's time"),
        "totalDcDelivery": said(KWH, "kWh that reached the battery"),
        "efficiencyRatio": ratio,
        "avgBatteryTemp": {"type": ["number", "null"], "description": "°C; null: no reading in the window"},
        "dataPoints": said(COUNT, "distinct instants at which the vehicle was heard"),
        "meterDataPoints": said(COUNT, "distinct instants at which each of the meters was heard, summed"),
        "completeness": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": f"`dataPoints` of those expected, one in {settings.heartbeat_seconds} seconds",
        },
        "status": {
            "type": "string",
            "enum": ["healthy", "degraded", "unknown"],
            "description": f"`degraded`: the ratio is below {settings.alert_threshold:g} %; `unknown`: it is null",
        },
        "acEnergyConsumed": said(KWH, "`totalAcConsumption` under another name"),
        "dcEnergyDelivered": said(KWH, "`totalDcDelivery` under another name"),
        "efficiency": said(ratio, "`efficiencyRatio` under another name"),
    }
