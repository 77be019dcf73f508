"""Charging sessions: started and ended by chargers or operators; what each took in and cost."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import psycopg
from flask import Blueprint
from marshmallow import Schema, ValidationError, fields, validate
from msgspec import Meta, field

from models.access.keys import ADMIN, INGEST, READ
from models.analytics.sessions import records as sessions
from models.readings import rfc3339
from webapp.analytics.costs import Priced, cost_fields
from webapp.analytics.quantities import Implausible, Shared
from webapp.devices.answers import Percent
from webapp.http.answers import (
    Count,
    JsonObject,
    Kwh,
    MeterId,
    Page,
    Ratio,
    SerialId,
    Time,
    VehicleId,
    round_kwh,
    round_ratio,
    round_seconds,
)
from webapp.http.auth import binding, require_devices
from webapp.http.clock import request_time
from webapp.http.errors import ApiError, not_found
from webapp.http.fields import EARLIEST, PageSchema, Timestamp, device_id
from webapp.http.operations import Body, operation
from webapp.http.paging import decode_cursor, page
from webapp.http.resources import current_resources, database

bp = Blueprint("sessions", __name__, url_prefix="/v1/sessions")

MAX_PAGE = 200  # each session is computed from history

# ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────


class NewSessionSchema(Schema):
    """A vehicle starts to charge at a meter."""

    vehicle_id = device_id(data_key="vehicleId", required=True, metadata={"example": "V001"})
    meter_id = device_id(data_key="meterId", required=True, metadata={"example": "M001"})
    started_at = Timestamp(
        data_key="startedAt",
        required=True,
        metadata={
            "description": "ISO 8601 with a zone; not before 2000, nor ahead of the server's clock",
            "example": "2026-02-10T08:30:00Z",
        },
    )


class SessionEndSchema(Schema):
    """The end of a session."""

    ended_at = Timestamp(
        data_key="endedAt",
        load_default=None,
        allow_none=True,
        metadata={
            "description": "after the start, and not ahead of the server's clock; left out or null: now",
            "example": "2026-02-10T09:45:00Z",
        },
    )


class SessionPageSchema(PageSchema):
    limit = fields.Integer(
        load_default=50, validate=validate.Range(1, MAX_PAGE), metadata={"description": "items a page"}
    )
    vehicle_id = device_id(
        data_key="vehicleId", load_default=None, metadata={"description": "only sessions of this vehicle"}
    )
    meter_id = device_id(data_key="meterId", load_default=None, metadata={"description": "only sessions at this meter"})


# ── Answers ──────────────────────────────────────────────────────────────────────────────────────────────────


class SocRange(JsonObject):
    """State of charge in percent: the first and the last within the session; null: no reading has one."""

    start: Percent | None = field(name="from")
    end: Percent | None = field(name="to")


class Session(Priced):
    """One vehicle at one meter, in [startedAt, endedAt)."""

    id: SerialId
    vehicle_id: VehicleId
    meter_id: MeterId
    state: Literal["open", "ended"]
    started_at: Time
    ended_at: Annotated[Time | None, Meta(description="null: the session is open, and what follows is as of now")]
    duration_seconds: Annotated[float, Meta(ge=0)]
    total_ac_consumption: Annotated[Kwh, Meta(description="kWh of the meter that are this vehicle's")]
    total_dc_delivery: Annotated[Kwh, Meta(description="kWh that reached the battery")]
    efficiency_ratio: Ratio
    soc: SocRange
    shared: Shared
    data_points: Annotated[Count, Meta(description="distinct instants of the vehicle's readings")]
    meter_data_points: Annotated[Count, Meta(description="distinct instants of the meter's readings")]
    implausible: Implausible


class SessionPage(Page):
    """A page of sessions."""

    items: list[Session]


def _present(connection: psycopg.Connection, found: list[sessions.Session]) -> list[Session]:
    now, heartbeat_seconds = request_time(), current_resources().settings.heartbeat_seconds
    reports = sessions.report_sessions(connection, found, now, heartbeat_seconds=heartbeat_seconds)
    return [_present_report(report, now) for report in reports]


def _present_report(report: sessions.SessionReport, now: datetime) -> Session:
    session, performance = report.session, report.performance
    return Session(
        id=session.id,
        vehicle_id=session.vehicle_id,
        meter_id=session.meter_id,
        state="open" if session.ended_at is None else "ended",
        started_at=session.started_at,
        ended_at=session.ended_at,
        duration_seconds=round_seconds((session.until(now) - session.started_at).total_seconds()),
        total_ac_consumption=round_kwh(performance.ac_kwh),
        total_dc_delivery=round_kwh(performance.dc_kwh),
        efficiency_ratio=round_ratio(performance.efficiency),
        soc=SocRange(start=report.soc_from, end=report.soc_to),
        shared=performance.shared,
        data_points=performance.vehicle_points,
        meter_data_points=performance.meter_points,
        implausible=performance.implausible,
        **cost_fields(report.costs),
    )


# ── Operations ───────────────────────────────────────────────────────────────────────────────────────────────


@bp.post("")
@operation(
    "Sessions",
    "Start a charging session",
    scopes=(INGEST, ADMIN),
    body=Body(
        NewSessionSchema,
        examples={"start": ("A start", {"vehicleId": "V001", "meterId": "M001", "startedAt": "2026-02-10T08:30:00Z"})},
    ),
    answers={
        201: "Started",
        200: "The same start was sent before: the same session",
        409: "The vehicle has another open session; `message` has its id",
    },
)
def start_session(body: Mapping[str, Any]) -> tuple[Session, int]:
    """From `startedAt` on the meter feeds the vehicle, as with a mapping, until the session is ended.

    A key that is bound to devices needs both of them.
    """
    require_devices(body["vehicle_id"], body["meter_id"])
    started_at = _validate_time(body["started_at"], "startedAt")
    with database() as connection:
        try:
            session, is_new = sessions.start_session(connection, body["vehicle_id"], body["meter_id"], started_at)
        except sessions.SessionOpen as error:
            raise ApiError(
                409,
                f"Session {error.session.id} of this vehicle is open, at {error.session.meter_id} since "
                f"{rfc3339(error.session.started_at)}: end it first (POST /v1/sessions/{error.session.id}/end)",
            ) from None
        return _present(connection, [session])[0], 201 if is_new else 200


@bp.post("/<session_id>/end")
@operation(
    "Sessions",
    "End a charging session",
    scopes=(INGEST, ADMIN),
    errors=(404,),
    body=Body(SessionEndSchema, required=False, examples={"then": ("At a time", {"endedAt": "2026-02-10T09:45:00Z"})}),
    answers={200: "Ended", 409: "The session ended before; `message` has the time"},
)
def end_session(session_id: SerialId, body: Mapping[str, Any]) -> Session:
    """Without a body the session ends now. A reading at the time of the end is not part of the session."""
    ended_at = _validate_time(body["ended_at"] or request_time(), "endedAt")
    with database() as connection:
        found = _found(sessions.get_session(connection, session_id))
        require_devices(found.vehicle_id, found.meter_id)
        try:
            session = _found(sessions.end_session(connection, session_id, ended_at))
        except sessions.SessionEnded as error:
            raise ApiError(409, f"This session ended at {rfc3339(error.session.until(ended_at))}") from None
        except sessions.SessionEndsTooEarly as error:
            raise ValidationError(f"Must be after the start, {rfc3339(error.session.started_at)}.", "endedAt") from None
        return _present(connection, [session])[0]


@bp.get("")
@operation("Sessions", "List charging sessions, the last started first", scopes=(READ,), query=SessionPageSchema)
def list_sessions(query: Mapping[str, Any]) -> SessionPage:
    after = decode_cursor(query["cursor"], datetime, int)
    if query["vehicle_id"] is not None:
        require_devices(query["vehicle_id"])
    with database() as connection:
        found = sessions.list_sessions(
            connection,
            vehicle_id=query["vehicle_id"],
            meter_id=query["meter_id"],
            after=after,
            limit=query["limit"] + 1,
            binding=binding(),
        )
        found, following = page(found, query["limit"], lambda session: (session.started_at, session.id))
        return SessionPage(items=_present(connection, found), next=following)


@bp.get("/<session_id>")
@operation(
    "Sessions", "Show a charging session: energy, duration, state of charge, cost", scopes=(READ,), errors=(404,)
)
def get_session(session_id: SerialId) -> Session:
    with database() as connection:
        session = _found(sessions.get_session(connection, session_id))
        require_devices(session.vehicle_id)  # the answer covers its meter too
        return _present(connection, [session])[0]


def _found(session: sessions.Session | None) -> sessions.Session:
    if session is None:
        raise not_found("session")
    return session


def _validate_time(moment: datetime, field_name: str) -> datetime:
    skew = current_resources().settings.max_clock_skew_seconds
    if moment < EARLIEST:
        raise ValidationError("Must not be before 2000-01-01.", field_name)
    if moment > request_time() + timedelta(seconds=skew):
        raise ValidationError(f"Must not be more than {skew} seconds in the future.", field_name)
    return moment
