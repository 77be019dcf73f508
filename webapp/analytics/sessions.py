"""Charging sessions: started and ended by chargers or operators."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint
from marshmallow import Schema, ValidationError, fields, validate

from models.access.keys import ADMIN, INGEST, READ
from models.analytics.sessions import records
from models.readings import rfc3339
from webapp.analytics.session_answers import Session, SessionPage, longest_session, present_changed, present_sessions
from webapp.http.answers import SerialId
from webapp.http.auth import allows, binding, covers, require_devices
from webapp.http.bounds.heavy_reads import heavy_read
from webapp.http.clock import request_time
from webapp.http.errors import ApiError, not_found
from webapp.http.fields import PageSchema, Timestamp, device_id
from webapp.http.operations import Body, operation
from webapp.http.paging import decode_cursor, page
from webapp.http.resources import current_resources, database

bp = Blueprint("sessions", __name__, url_prefix="/v1/sessions")

MAX_PAGE = 200  # each session is computed from history

# ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────


class NewSessionSchema(Schema):
    """A vehicle starts to charge at a meter, or has charged there."""

    vehicle_id = device_id(data_key="vehicleId", required=True, metadata={"example": "V001"})
    meter_id = device_id(data_key="meterId", required=True, metadata={"example": "M001"})
    started_at = Timestamp(
        data_key="startedAt",
        required=True,
        metadata={
            "description": "ISO 8601 with a zone; not more than {session_max_days} days ago, nor ahead of the server's "
            "clock",
            "example": "2026-02-10T08:30:00Z",
        },
    )
    ended_at = Timestamp(
        data_key="endedAt",
        load_default=None,
        allow_none=True,
        metadata={
            "description": "of a session that is over; left out or null: it is open",
            "example": "2026-02-10T09:45:00Z",
        },
    )


class SessionEndSchema(Schema):
    """The end of a session."""

    ended_at = Timestamp(
        data_key="endedAt",
        load_default=None,
        allow_none=True,
        metadata={
            "description": "after the start by at most {session_max_days} days, and not ahead of the server's clock; "
            "left out or null: now",
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
    site = device_id(load_default=None, metadata={"description": "only if the meter has this site in its settings"})
    search = device_id(
        load_default=None,
        metadata={"description": "only if the vehicle or the meter has this in its id, in any letter case"},
    )


# ── Operations ───────────────────────────────────────────────────────────────────────────────────────────────

_START = {"vehicleId": "V001", "meterId": "M001", "startedAt": "2026-02-10T08:30:00Z"}


@bp.post("")
@operation(
    "Sessions",
    "Start a charging session, or report one that is over",
    scopes=(INGEST, ADMIN),
    body=Body(
        NewSessionSchema,
        examples={
            "start": ("A start", _START),
            "whole": ("A session that is over", {**_START, "endedAt": "2026-02-10T09:45:00Z"}),
        },
    ),
    answers={
        201: "Stored",
        200: "The same start was sent before: the same session; it is ended if the end is new",
        409: "It would overlap another session of the vehicle, or ended before at another time; see `message`",
    },
)
def start_session(body: Mapping[str, Any]) -> tuple[Session, int]:
    """From `startedAt` on the meter feeds the vehicle, as with a mapping, until the session is ended.

    Sessions of a vehicle do not overlap. A start without an end that comes after a later session started is taken: it
    ends where that one starts (`endReason` is `next_session`), or earlier as soon as its own end is reported. A key
    that is bound to devices needs both of them.
    """
    require_devices(body["vehicle_id"], body["meter_id"])
    started_at = _not_ahead(body["started_at"], "startedAt")
    longest = longest_session()
    if started_at < request_time() - longest:
        raise ValidationError(
            f"Must not be more than {longest.days} days ago; an operator can import older sessions.", "startedAt"
        )
    ended_at = body["ended_at"] and _not_ahead(body["ended_at"], "endedAt")
    if ended_at and not started_at < ended_at <= started_at + longest:
        raise ValidationError(f"Must be after the start, by at most {longest.days} days.", "endedAt")
    with database() as connection:
        try:
            session, is_new = records.start_session(
                connection, body["vehicle_id"], body["meter_id"], started_at, ended_at
            )
        except (records.SessionInTheWay, records.SessionEnded) as error:
            raise _conflict(error, body["meter_id"]) from None
        return present_changed(connection, session), 201 if is_new else 200


@bp.post("/<session_id>/end")
@operation(
    "Sessions",
    "End a charging session",
    scopes=(INGEST, ADMIN),
    errors=(404,),
    body=Body(SessionEndSchema, required=False, examples={"then": ("At a time", {"endedAt": "2026-02-10T09:45:00Z"})}),
    answers={200: "Ended", 409: "It ended before at another time, or overlaps another session; see `message`"},
)
def end_session(session_id: SerialId, body: Mapping[str, Any]) -> Session:
    """Without a body the session ends now. A reading at the time of the end is not part of the session."""
    ended_at = _not_ahead(body["ended_at"] or request_time(), "endedAt")
    longest = longest_session()
    with database() as connection:
        found = _found(records.get_session(connection, session_id))
        _require_visible(found.vehicle_id, found.meter_id)
        try:
            session = _found(records.end_session(connection, session_id, ended_at, longest=longest))
        except (records.SessionInTheWay, records.SessionEnded) as error:
            raise _conflict(error, found.meter_id) from None
        except records.SessionEndsTooEarly as error:
            raise ValidationError(f"Must be after the start, {rfc3339(error.session.started_at)}.", "endedAt") from None
        except records.SessionTooLong as error:
            start = rfc3339(error.session.started_at)
            raise ValidationError(f"Must be at most {longest.days} days after the start, {start}.", "endedAt") from None
        return present_changed(connection, session)


@bp.delete("/<session_id>")
@operation("Sessions", "Delete a charging session", scopes=(ADMIN,), errors=(404,), answers={204: "Deleted"})
def delete_session(session_id: SerialId) -> None:
    """As if the meter had not fed the vehicle. A session before it keeps its end."""
    with database() as connection:
        found = _found(records.get_session(connection, session_id))
        _require_visible(found.vehicle_id, found.meter_id)
        _found(records.delete_session(connection, session_id))


@bp.get("")
@operation("Sessions", "List charging sessions, the last started first", scopes=(READ,), query=SessionPageSchema)
def list_sessions(query: Mapping[str, Any]) -> SessionPage:
    """If the whole page takes too long, the shortest sessions come first, and `unavailable` marks the others."""
    after = decode_cursor(query["cursor"], datetime, int)
    if query["vehicle_id"] is not None:
        require_devices(query["vehicle_id"])
    with heavy_read(), database() as connection:
        found = records.list_sessions(
            connection,
            vehicle_id=query["vehicle_id"],
            meter_id=query["meter_id"],
            site=query["site"],
            search=query["search"],
            after=after,
            limit=query["limit"] + 1,
            binding=binding(),
        )
        found, following = page(found, query["limit"], lambda session: (session.started_at, session.id))
        return SessionPage(items=present_sessions(connection, found), next=following)


@bp.get("/<session_id>")
@operation(
    "Sessions", "Show a charging session: energy, duration, state of charge, cost", scopes=(READ,), errors=(404,)
)
def get_session(session_id: SerialId) -> Session:
    with heavy_read(), database() as connection:
        session = _found(records.get_session(connection, session_id))
        _require_visible(session.vehicle_id)  # the answer covers its meter too
        return present_sessions(connection, [session])[0]


def _found(session: records.Session | None) -> records.Session:
    if session is None:
        raise not_found("session")
    return session


def _require_visible(*device_ids: str) -> None:
    """Answers 404 for a session of other devices, as if it did not exist: ids are numbers, and can be guessed."""
    if not covers(*device_ids):
        raise not_found("session")


def _conflict(error: records.SessionError, meter_id: str) -> ApiError:
    """Names the session, unless it is at another meter than the request's and the key may not read."""
    other = error.session
    if other.meter_id != meter_id and not allows(READ):
        return ApiError(409, "Another session of this vehicle overlaps it")
    start = rfc3339(other.started_at)
    if isinstance(error, records.SessionEndsTooLate):
        return ApiError(
            409,
            f"Session {other.id} of this vehicle started at {start}, at {other.meter_id}: it can't end later than that",
        )
    if other.ended_at is None:
        return ApiError(
            409,
            f"Session {other.id} of this vehicle is open, at {other.meter_id} since {start}: end it first "
            f"(POST /v1/sessions/{other.id}/end)",
        )
    end = rfc3339(other.ended_at)
    if isinstance(error, records.SessionEnded):
        return ApiError(409, f"This session ended at {end}")
    return ApiError(409, f"Session {other.id} of this vehicle overlaps it, at {other.meter_id} from {start} to {end}")


def _not_ahead(moment: datetime, field_name: str) -> datetime:
    skew = current_resources().settings.max_clock_skew_seconds
    if moment > request_time() + timedelta(seconds=skew):
        raise ValidationError(f"Must not be more than {skew} seconds in the future.", field_name)
    return moment
