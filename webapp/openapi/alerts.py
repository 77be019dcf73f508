"""Alerts."""

from models.alerts.alert import KINDS, STATES, UNITS
from webapp.alerts import MAX_BODY_BYTES, AcknowledgementSchema, AlertPageSchema
from webapp.openapi.answers import answer
from webapp.openapi.components import METER_ID, TEXT, TIME, or_null, page_of, record, said, schema
from webapp.openapi.fields import object_schema, query_parameters
from webapp.openapi.operations import Operations, in_path, operation

_ID = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1, "example": 1}
_FILTERS = {
    "state": "only those in this state",
    "kind": "only those of this kind",
    "deviceId": "only those of this device",
}
_EXAMPLE = {
    "id": 17,
    "kind": "efficiency",
    "state": "acknowledged",
    "deviceKind": "vehicle",
    "deviceId": "V001",
    "value": 78.4,
    "bound": 85.0,
    "unit": "%",
    "message": "Efficiency over the last day: 78.4 % (alert below 85 %)",
    "detail": {"acConsumption": 61.2, "dcDelivery": 47.98, "completeness": 0.9875},
    "openedAt": "2026-02-10T10:30:00Z",
    "lastSeenAt": "2026-02-10T11:05:00Z",
    "acknowledgedAt": "2026-02-10T10:41:12Z",
    "note": "Charger is being replaced",
    "resolvedAt": None,
}


def schemas() -> dict[str, dict]:
    alert = record(
        "Something of a device that a person should look at. Of a device and kind one at most is not resolved.",
        {
            "id": _ID,
            "kind": {"type": "string", "enum": list(KINDS)},
            "state": {
                "type": "string",
                "enum": list(STATES),
                "description": "`acknowledged`: a person knows, and it goes on; `resolved`: it is over",
            },
            "deviceKind": {"type": "string", "enum": ["meter", "vehicle"]},
            "deviceId": METER_ID,
            "value": {"type": "number", "description": "as last judged, in `unit`"},
            "bound": {"type": "number", "description": "what `value` is judged by"},
            "unit": {"type": "string", "enum": list(UNITS.values())},
            "message": said(TEXT, "the same for a person"),
            "detail": {"type": "object", "description": "what the value was made of, by kind: docs/alerts.md"},
            "openedAt": TIME,
            "lastSeenAt": said(TIME, "when it was last found to be so"),
            "acknowledgedAt": or_null(TIME),
            "note": or_null(TEXT),
            "resolvedAt": or_null(TIME),
        },
    )
    return {"Alert": alert | {"example": _EXAMPLE}, "Acknowledgement": object_schema(AcknowledgementSchema)}


def operations() -> Operations:
    yield (
        "/v1/alerts",
        "get",
        operation(
            "Alerts",
            "listAlerts",
            "List alerts, the newest first",
            {200: answer("A page of them", page_of("Alert"))},
            errors="422 503",
            needs=("read",),
            parameters=query_parameters(AlertPageSchema, _FILTERS),
        ),
    )
    yield (
        "/v1/alerts/{alertId}",
        "get",
        operation(
            "Alerts",
            "getAlert",
            "Show an alert",
            {200: answer("As it stands", schema("Alert"))},
            errors="404 503",
            needs=("read",),
            parameters=[in_path("alertId", _ID)],
        ),
    )
    yield (
        "/v1/alerts/{alertId}/acknowledge",
        "post",
        operation(
            "Alerts",
            "acknowledgeAlert",
            "Say that a person knows",
            {
                200: answer("Acknowledged; it stays so until it is resolved", schema("Alert")),
                409: answer("It is resolved", schema("Error")),
            },
            errors="400 404 413 415 422 503",
            needs=("admin",),
            description="Acknowledged again it stays as it is, but for a note that is given. "
            f"A body may be left out; it has at most {MAX_BODY_BYTES} bytes.",
            parameters=[in_path("alertId", _ID)],
            requestBody={
                "content": {
                    "application/json": {
                        "schema": schema("Acknowledgement"),
                        "examples": {
                            "note": {"summary": "With a note", "value": {"note": "Charger is being replaced"}},
                            "none": {"summary": "Without", "value": {}},
                        },
                    }
                },
            },
        ),
    )
