"""Charging sessions: started, ended, and what each took in and cost."""

from datetime import datetime, timedelta

from flask import Blueprint, request
from marshmallow import RAISE, Schema, ValidationError, fields, validate

from models.analytics.sessions import (
    Session,
    SessionEnded,
    SessionEndsTooEarly,
    SessionOpen,
    SessionReport,
    end_session,
    get_session,
    list_sessions,
    report_sessions,
    start_session,
)
from models.readings import rfc3339
from webapp.analytics.costs import present_costs
from webapp.http.auth import binding, require_devices
from webapp.http.bodies import read_json
from webapp.http.clock import request_time
from webapp.http.errors import ApiError
from webapp.http.fields import EARLIEST, PageSchema, Timestamp, device_id
from webapp.http.paging import decode_cursor, page
from webapp.http.resources import current_resources, database

bp = Blueprint("sessions", __name__, url_prefix="/v1/sessions")

MAX_BODY_BYTES = 16 * 1024
MAX_ID = 2**63 - 1  # above it there is none; Postgres would call it out of range
MAX_PAGE = 200  # each is computed from history


class SessionStartSchema(Schema):
    """A vehicle begins to charge at a meter."""

    class Meta:
        unknown = RAISE

    vehicleId = device_id(required=True, metadata={"example": "V001"})
    meterId = device_id(required=True, metadata={"example": "M001"})
    startedAt = Timestamp(
        required=True,
        metadata={
            "description": "ISO 8601 with a zone; not before 2000, nor ahead of the server's clock",
            "example": "2026-02-10T08:30:00Z",
        },
    )


class SessionEndSchema(Schema):
    """When it ended; left out: now."""

    class Meta:
        unknown = RAISE

    endedAt = Timestamp(
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
    vehicleId = device_id(load_default=None)
    meterId = device_id(load_default=None)


@bp.post("")
def begin_session():
    given = SessionStartSchema().load(read_json(request, MAX_BODY_BYTES))
    require_devices(given["vehicleId"], given["meterId"])
    started_at = _of_this_time(given["startedAt"], "startedAt")
    with database() as connection:
        try:
            session, is_new = start_session(connection, given["vehicleId"], given["meterId"], started_at)
        except SessionOpen as error:
            raise ApiError(
                409,
                f"Session {error.session.id} of this vehicle is open, at {error.session.meter_id} since "
                f"{rfc3339(error.session.started_at)}: end it first (POST /v1/sessions/{error.session.id}/end)",
            ) from None
        return _tell(connection, [session])[0], 201 if is_new else 200


@bp.post("/<session_id>/end")
def finish_session(session_id: str):
    number = _number(session_id)
    has_body = request.content_length or request.headers.get("Transfer-Encoding")
    given = SessionEndSchema().load(read_json(request, MAX_BODY_BYTES) if has_body else {})
    ended_at = _of_this_time(given["endedAt"] or request_time(), "endedAt")
    with database() as connection:
        found = _known(get_session(connection, number))
        require_devices(found.vehicle_id, found.meter_id)
        try:
            session = _known(end_session(connection, number, ended_at))
        except SessionEnded as error:
            raise ApiError(409, f"This session ended at {rfc3339(error.session.ended_at)}") from None
        except SessionEndsTooEarly as error:
            start = rfc3339(error.session.started_at)
            raise ValidationError(f"Must be after the start, {start}.", "endedAt") from None
        return _tell(connection, [session])[0]


@bp.get("")
def show_sessions():
    query = SessionPageSchema().load(request.args)
    after = decode_cursor(query["cursor"], datetime, int)
    if query["vehicleId"] is not None:
        require_devices(query["vehicleId"])
    with database() as connection:
        found = list_sessions(
            connection,
            vehicle_id=query["vehicleId"],
            meter_id=query["meterId"],
            after=after,
            limit=query["limit"] + 1,
            binding=binding(),
        )
        found, following = page(found, query["limit"], lambda session: (session.started_at, session.id))
        items = _tell(connection, found)
    return {"items": items, "next": following}


@bp.get("/<session_id>")
def show_session(session_id: str):
    number = _number(session_id)
    with database() as connection:
        session = _known(get_session(connection, number))
        require_devices(session.vehicle_id)  # its meter comes with it
        return _tell(connection, [session])[0]


def _number(session_id: str) -> int:
    is_number = session_id.isascii() and session_id.isdigit() and len(session_id) <= len(str(MAX_ID))
    if not is_number or int(session_id) > MAX_ID:
        raise _not_found()
    return int(session_id)


def _known(session: Session | None) -> Session:
    if session is None:
        raise _not_found()
    return session


def _not_found() -> ApiError:
    return ApiError(404, "Session not found")


def _of_this_time(moment: datetime, field: str) -> datetime:
    skew = current_resources().settings.max_clock_skew_seconds
    if moment < EARLIEST:
        raise ValidationError("Must not be before 2000-01-01.", field)
    if moment > request_time() + timedelta(seconds=skew):
        raise ValidationError(f"Must not be more than {skew} seconds in the future.", field)
    return moment


def _tell(connection, sessions: list[Session]) -> list[dict]:
    now = request_time()
    heartbeat_seconds = current_resources().settings.heartbeat_seconds
    reports = report_sessions(connection, sessions, now, heartbeat_seconds=heartbeat_seconds)
    return [_present(report, now) for report in reports]


def _present(report: SessionReport, now: datetime) -> dict:
    session, performance = report.session, report.performance
    efficiency = performance.efficiency
    return {
        "id": session.id,
        "vehicleId": session.vehicle_id,
        "meterId": session.meter_id,
        "state": "open" if session.ended_at is None else "ended",
        "startedAt": session.started_at,
        "endedAt": session.ended_at,
        "durationSeconds": round((session.until(now) - session.started_at).total_seconds(), 3),
        "totalAcConsumption": round(performance.ac_kwh, 6) + 0.0,
        "totalDcDelivery": round(performance.dc_kwh, 6) + 0.0,
        "efficiencyRatio": None if efficiency is None else round(efficiency, 4) + 0.0,
        "soc": {"from": report.soc_from, "to": report.soc_to},
        "shared": performance.shared,
        "dataPoints": performance.vehicle_points,
        "meterDataPoints": performance.meter_points,
        "implausible": performance.implausible,
        **present_costs(report.costs),
    }
