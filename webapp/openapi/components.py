"""The shapes of bodies and answers."""

from models.settings import Settings
from webapp.ingest.schemas import MeterReadingSchema, VehicleReadingSchema
from webapp.openapi.fields import object_schema, properties

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


ENERGY_COST = "what the AC energy cost, each reading at the price of its time at the site of its meter"
LOSS_COST = "how much of it never reached a battery: `energyCost` less the DC energy at the same prices"
MONEY = {"type": "number"}
_NO_COST = ", to the cent; null: no tariff applies, or several currencies do"
# What performance, sessions and the fleet say of money.
COST_FIELDS = {
    "energyCost": said(or_null(MONEY), ENERGY_COST + _NO_COST),
    "lossCost": said(or_null(MONEY), LOSS_COST + _NO_COST),
    "currency": said(or_null(TEXT), "of both; null with them"),
    "costs": {"type": "array", "items": schema("Cost"), "description": "by currency; empty: no tariff applies"},
}

# ── Shapes ───────────────────────────────────────────────────────────────────────────────────────────────────

SHARED = {
    "type": "boolean",
    "description": "a meter fed other vehicles at the same time: its energy is divided, in each hour, by the DC energy "
    "that each of them took",
}
IMPLAUSIBLE = said(COUNT, "readings that claim more energy than their device's `ratedPowerKw` allows; they count 0")
NET_KWH = {"type": "number", "description": "kWh; below 0 where a cumulative register only went back a little"}


def schemas(settings: Settings) -> dict[str, dict]:
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
