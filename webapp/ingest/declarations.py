"""The declaration of the operations that take readings: one for each path."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from flask import Response

from models.access.keys import INGEST
from models.readings import METER, VEHICLE, Kind
from webapp.http.operations import Answer, Operation, operation
from webapp.ingest.answers import Accepted
from webapp.ingest.schemas import AtomicSchema, MeterReadingSchema, VehicleReadingSchema

DESCRIPTION = """\
Good readings are accepted and bad ones listed; if none is good the answer is 422. With `atomic=true` one bad reading
refuses the request. Unknown fields are ignored, and the answer names them.

The answer is sent once the readings are on disk. It is a promise: they reach history, or the dead letters with a
reason; the receipt leads to their state. After a 503 nothing was accepted. After a 504, or no answer, send again: with
an `Idempotency-Key` nothing is added twice.
"""

_METER = {"type": "meter", "meterId": "M001", "kwhConsumedAc": 0.125, "voltage": 230.4}
_VEHICLE = {"type": "vehicle", "vehicleId": "V001", "kwhDeliveredDc": 0.11, "batteryTemp": 26.5, "soc": 81.0}
_TIMES = ("2026-02-10T10:30:00Z", "2026-02-10T10:31:00Z")
# By the kind of a path: whose readings it takes, the schema of one, and two examples.
_TAKEN: dict[Kind | None, tuple[str, Any, list[dict]]] = {
    None: (
        "meters and vehicles, mixed",
        {"oneOf": [MeterReadingSchema, VehicleReadingSchema]},
        [_METER | {"timestamp": _TIMES[0]}, _VEHICLE | {"timestamp": _TIMES[0]}],
    ),
    METER: ("meters", MeterReadingSchema, [_METER | {"timestamp": at} for at in _TIMES]),
    VEHICLE: ("vehicles", VehicleReadingSchema, [_VEHICLE | {"timestamp": at} for at in _TIMES]),
}


def declare(kind: Kind | None, status: int, ingest: Callable[..., Response]) -> Operation:
    """The view of a path that takes readings of `kind`, or of both, and answers with `status`."""
    whose, reading, examples = _TAKEN[kind]

    @operation(
        "Ingest",
        f"Send readings of {whose}",
        scopes=(INGEST,),
        counts_readings=True,
        query=AtomicSchema,
        headers=("Idempotency-Key",),
        request_body=_body(reading, examples),
        answers={
            status: Answer(
                "Accepted, for good",
                headers=("Idempotent-Replay",),
                links={"receipt": {"operationId": "getReceipt", "parameters": {"receipt": "$response.body#/receipt"}}},
            )
        },
        errors=(400, 411, 413, 415, 504),
        description=DESCRIPTION,
    )
    def ingest_readings(query: Mapping[str, Any]) -> Accepted | Response:
        return ingest(atomic=query["atomic"])

    return ingest_readings


def _body(reading: Any, examples: list[dict]) -> dict:
    several = {"type": "array", "items": reading, "minItems": 1, "maxItems": "{max_batch_readings}"}
    lines = "".join(f"{json.dumps(example)}\n" for example in examples)
    return {
        "required": True,
        "description": "One reading, an array of up to {max_batch_readings}, or as many lines of NDJSON. "
        "A body without a Content-Type is read as JSON. `Content-Encoding: gzip` is read. "
        "At most {max_body_bytes} bytes, after decompression.",
        "content": {
            "application/json": {
                "schema": {"oneOf": [reading, several]},
                "examples": {
                    "one": {"summary": "One reading", "value": examples[0]},
                    "several": {"summary": "Several", "value": examples},
                },
            },
            "application/x-ndjson": {
                "schema": {"type": "string", "description": "a reading in each line"},
                "examples": {"lines": {"summary": "A line each", "value": lines}},
            },
        },
    }
