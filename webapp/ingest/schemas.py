"""The contract of readings and requests, as marshmallow schemas. The OpenAPI document is made from them.

webapp/ingest/fast_decoding.py derives the fast decoder of readings from the reading schemas.
"""

from marshmallow import EXCLUDE, Schema, fields, validate

from webapp.http.fields import Number, QuerySchema, Timestamp, device_id

MAX_KWH = 1_000_000


def _type(name: str) -> fields.String:
    """The kind of a reading, in any letter case; webapp/ingest/decoding.py checks it."""
    any_case = "".join(f"[{letter.upper()}{letter}]" for letter in name)
    return fields.String(
        metadata={"pattern": f"^{any_case}$", "description": f"`{name}`, in any letter case", "example": name}
    )


class ReadingSchema(Schema):
    """What both kinds of reading have in common. Firmware adds fields: the answer names unknown ones."""

    class Meta:
        unknown = EXCLUDE

    timestamp = Timestamp(
        required=True,
        metadata={
            "description": "when it was measured, ISO 8601 with a zone, rounded to microseconds; not before 2000, nor "
            "older than {retention_days} days (0: any age), and at most {max_clock_skew_seconds} seconds ahead of the "
            "service's clock",
            "example": "2026-02-10T10:30:00Z",
        },
    )


class MeterReadingSchema(ReadingSchema):
    """One measurement of a smart meter, on the AC side."""

    type = _type("meter")
    meterId = device_id(required=True, metadata={"example": "M001"})
    kwhConsumedAc = Number(
        required=True,
        validate=validate.Range(0, MAX_KWH),
        metadata={"description": "kWh taken from the grid since the last reading", "example": 0.125},
    )
    voltage = Number(required=True, validate=validate.Range(0, 1000), metadata={"description": "V", "example": 230.4})


class VehicleReadingSchema(ReadingSchema):
    """One measurement of a vehicle, on the DC side."""

    type = _type("vehicle")
    vehicleId = device_id(required=True, metadata={"example": "V001"})
    kwhDeliveredDc = Number(
        required=True,
        validate=validate.Range(0, MAX_KWH),
        metadata={"description": "kWh that reached the battery since the last reading", "example": 0.11},
    )
    batteryTemp = Number(
        required=True, validate=validate.Range(-60, 150), metadata={"description": "°C", "example": 26.5}
    )
    soc = Number(
        allow_none=True,
        validate=validate.Range(0, 100),
        metadata={"description": "state of charge in percent; left out or null: unknown", "example": 81.0},
    )


class AtomicSchema(QuerySchema):
    atomic = fields.Boolean(
        load_default=False,
        truthy={"true", "1"},
        falsy={"false", "0"},
        metadata={"description": "take all readings of the request or none"},
    )
