"""Charging sessions."""

from webapp.analytics.sessions import MAX_BODY_BYTES, MAX_ID, SessionEndSchema, SessionPageSchema, SessionStartSchema
from webapp.openapi.answers import answer
from webapp.openapi.components import (
    COST_FIELDS,
    COUNT,
    IMPLAUSIBLE,
    METER_ID,
    NET_KWH,
    SHARED,
    TIME,
    VEHICLE_ID,
    or_null,
    page_of,
    record,
    said,
    schema,
)
from webapp.openapi.fields import object_schema, query_parameters
from webapp.openapi.operations import Operations, in_path, operation

_ID = {"type": "integer", "minimum": 1, "maximum": MAX_ID}
_SOC = {"type": ["number", "null"], "minimum": 0, "maximum": 100}
_START = {"vehicleId": "V001", "meterId": "M001", "startedAt": "2026-02-10T08:30:00Z"}
_FILTERS = {"vehicleId": "only those of this vehicle", "meterId": "only those at this meter"}


def schemas() -> dict[str, dict]:
    session = record(
        "One vehicle at one meter, in [startedAt, endedAt).",
        {
            "id": _ID,
            "vehicleId": VEHICLE_ID,
            "meterId": METER_ID,
            "state": {"type": "string", "enum": ["open", "ended"]},
            "startedAt": TIME,
            "endedAt": said(or_null(TIME), "null: it is open, and what follows is as of now"),
            "durationSeconds": {"type": "number", "minimum": 0},
            "totalAcConsumption": said(NET_KWH, "kWh of the meter that are this vehicle's"),
            "totalDcDelivery": said(NET_KWH, "kWh that reached the battery"),
            "efficiencyRatio": {"type": ["number", "null"], "description": "DC/AC; null: no AC energy was measured"},
            "soc": record(
                "State of charge in percent, the first and the last that was told; null: none was.",
                {"from": _SOC, "to": _SOC},
            ),
            "shared": SHARED,
            "dataPoints": said(COUNT, "distinct instants at which the vehicle was heard"),
            "meterDataPoints": said(COUNT, "distinct instants at which the meter was heard"),
            "implausible": IMPLAUSIBLE,
            **COST_FIELDS,
        },
    )
    closed = {"additionalProperties": False}
    return {
        "Session": session,
        "NewSession": object_schema(SessionStartSchema) | closed,
        "SessionEnd": object_schema(SessionEndSchema) | closed,
    }


def operations() -> Operations:
    session_id = in_path("sessionId", _ID)
    yield (
        "/v1/sessions",
        "post",
        operation(
            "Sessions",
            "startSession",
            "Say that a vehicle began to charge",
            {
                201: answer("Begun", schema("Session")),
                200: answer("The same start was told before: the same session", schema("Session")),
                409: answer("The vehicle has another session open; `message` has its id", schema("Error")),
            },
            errors="400 413 415 422 503",
            needs=("ingest", "admin"),
            description="From `startedAt` on the meter feeds the vehicle, as with a mapping, until the session is "
            f"ended. A bound key needs both. At most {MAX_BODY_BYTES} bytes.",
            requestBody={
                "required": True,
                "content": {
                    "application/json": {
                        "schema": schema("NewSession"),
                        "examples": {"start": {"summary": "A start", "value": _START}},
                    }
                },
            },
        ),
    )
    yield (
        "/v1/sessions",
        "get",
        operation(
            "Sessions",
            "listSessions",
            "List sessions, the last started first",
            {200: answer("A page of them", page_of("Session"))},
            errors="422 503",
            needs=("read",),
            parameters=query_parameters(SessionPageSchema, _FILTERS),
        ),
    )
    yield (
        "/v1/sessions/{sessionId}",
        "get",
        operation(
            "Sessions",
            "getSession",
            "Show a session: energy, duration, state of charge, cost",
            {200: answer("As it is; an open one as of now", schema("Session"))},
            errors="404 503",
            needs=("read",),
            parameters=[session_id],
        ),
    )
    yield (
        "/v1/sessions/{sessionId}/end",
        "post",
        operation(
            "Sessions",
            "endSession",
            "Say that it ended",
            {
                200: answer("Ended", schema("Session")),
                409: answer("It has ended before; `message` says when", schema("Error")),
            },
            errors="400 404 413 415 422 503",
            needs=("ingest", "admin"),
            description="A body may be left out: it ended now. What the vehicle draws at the time of the end itself "
            f"is no longer of the session. At most {MAX_BODY_BYTES} bytes.",
            parameters=[session_id],
            requestBody={
                "content": {
                    "application/json": {
                        "schema": schema("SessionEnd"),
                        "examples": {"then": {"summary": "At a time", "value": {"endedAt": "2026-02-10T09:45:00Z"}}},
                    }
                },
            },
        ),
    )
