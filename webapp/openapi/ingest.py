"""Devices send readings, and ask what became of them."""

import json

from models.settings import Settings
from webapp.ingest.schemas import AtomicSchema
from webapp.ingest.views import PATHS
from webapp.openapi.answers import answer
from webapp.openapi.components import RECEIPT, schema
from webapp.openapi.fields import query_parameters
from webapp.openapi.operations import Operations, in_path, operation

_METER = {"type": "meter", "meterId": "M001", "kwhConsumedAc": 0.125, "voltage": 230.4}
_VEHICLE = {"type": "vehicle", "vehicleId": "V001", "kwhDeliveredDc": 0.11, "batteryTemp": 26.5, "soc": 81.0}
_EXAMPLES = {
    None: [_METER | {"timestamp": "2026-02-10T10:30:00Z"}, _VEHICLE | {"timestamp": "2026-02-10T10:30:00Z"}],
    "meter": [_METER | {"timestamp": f"2026-02-10T10:3{minute}:00Z"} for minute in (0, 1)],
    "vehicle": [_VEHICLE | {"timestamp": f"2026-02-10T10:3{minute}:00Z"} for minute in (0, 1)],
}
_READINGS = {None: "Reading", "meter": "MeterReading", "vehicle": "VehicleReading"}
_WHOSE = {None: "meters and vehicles, mixed", "meter": "meters", "vehicle": "vehicles"}

_INGEST = """\
Good readings are taken and bad ones listed; where none is good the answer is 422. With `atomic=true` one bad
reading refuses the request. Unknown fields are ignored.

The answer comes once the readings are on disk. It is a promise: they reach history, or the dead letters with a
reason; the receipt tells which. After a 503 nothing was taken. After a 504, or no answer, send again: with an
`Idempotency-Key` that can't add anything twice.
"""


def operations(settings: Settings) -> Operations:
    for path, kind, status in PATHS:
        name = kind.name if kind else None
        yield (
            path,
            "post",
            operation(
                "Ingest",
                f"ingest{path.replace('/', '_')}",
                f"Send readings of {_WHOSE[name]}",
                {status: _accepted()},
                errors="400 411 413 415 422 503 504",
                needs=("ingest",),
                description=_INGEST,
                parameters=[*query_parameters(AtomicSchema), "Idempotency-Key"],
                requestBody=_readings_body(name, settings),
            ),
        )
    yield (
        "/v1/telemetry/receipts/{receipt}",
        "get",
        operation(
            "Ingest",
            "getReceipt",
            "Ask what became of a request's readings",
            {200: answer("Where they are now", schema("ReceiptState"))},
            errors="404 503",
            needs=("ingest", "read"),
            description=f"A receipt is remembered for {settings.receipt_retention_days} days after its readings were "
            "stored; then the answer is 404.",
            parameters=[in_path("receipt", RECEIPT)],
        ),
    )


def _accepted() -> dict:
    follow = {"operationId": "getReceipt", "parameters": {"receipt": "$response.body#/receipt"}}
    return answer("Accepted, for good", schema("Accepted"), ("Idempotent-Replay",), links={"receipt": follow})


def _readings_body(kind: str | None, settings: Settings) -> dict:
    one = schema(_READINGS[kind])
    several = {"type": "array", "items": one, "minItems": 1, "maxItems": settings.max_batch_readings}
    first, second = _EXAMPLES[kind]
    lines = "".join(f"{json.dumps(reading)}\n" for reading in (first, second))
    return {
        "required": True,
        "description": f"One reading, an array of up to {settings.max_batch_readings}, or as many lines of NDJSON. "
        "A body without a Content-Type is read as JSON. `Content-Encoding: gzip` is read. "
        f"At most {settings.max_body_bytes} bytes, after decompression.",
        "content": {
            "application/json": {
                "schema": {"oneOf": [one, several]},
                "examples": {
                    "one": {"summary": "One reading", "value": first},
                    "several": {"summary": "Several", "value": [first, second]},
                },
            },
            "application/x-ndjson": {
                "schema": {"type": "string", "description": f"a line each: `{_READINGS[kind]}`"},
                "examples": {"lines": {"summary": "A line each", "value": lines}},
            },
        },
    }
