"""Charging sessions: one vehicle at one meter from a start to an end. The fine-grained form of a mapping.

Sessions of a vehicle do not overlap; a constraint holds that. Starts, ends and deletions of one vehicle's sessions take
turns by an advisory lock. Each change is one transaction with its stale marks.
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import psycopg
from sqlalchemy import bindparam, cast, delete, func, insert, literal_column, or_, select, text, tuple_, update

from models.access.bindings import Binding, binding_values, within_binding
from models.schema.devices import at_site, has_in_id
from models.schema.sessions import NEXT_SESSION, TOO_LONG, charging_sessions
from models.sql import one
from models.statements import Statement, finite, rows_of, run
from models.storage.stale_marks import mark_feed_stale

REPORTED = "reported"
END_REASONS = (REPORTED, NEXT_SESSION, TOO_LONG)
# Overdue sessions that one call ends.
_OVERDUE_AT_ONCE = 1_000
_MOMENT = timedelta(microseconds=1)


class Session(msgspec.Struct, frozen=True):
    """[started_at, ended_at); `ended_at` is None while it is open.

    `ended_by`: why the engine ended it, None if it did not. `overlapping`: another session of the vehicle overlaps it;
    both are older than the constraint.
    """

    id: int
    vehicle_id: str
    meter_id: str
    started_at: datetime
    ended_at: datetime | None
    ended_by: str | None
    overlapping: bool

    @property
    def end_reason(self) -> str | None:
        """One of END_REASONS; None while it is open."""
        return None if self.ended_at is None else self.ended_by or REPORTED

    def until(self, now: datetime) -> datetime:
        """Its end; of an open session `now`, but never before the start."""
        return max(self.started_at, self.ended_at or now)


class SessionError(Exception):
    """A session can't be started or ended because of `session`."""

    def __init__(self, session: Session):
        super().__init__(session)
        self.session = session


class SessionInTheWay(SessionError):
    """It would overlap `session`, another one of the vehicle."""


class SessionEnded(SessionError):
    """It was ended before, at another time."""


class SessionEndsTooEarly(SessionError):
    """It would end before it starts, or at once."""


class SessionEndsTooLate(SessionInTheWay):
    """It would end after `session`, the vehicle's next one, has started."""


class SessionTooLong(SessionError):
    """It would be longer than a session may be."""


_TABLE = charging_sessions.c
_COLUMNS = (
    _TABLE.id,
    _TABLE.vehicle_id,
    _TABLE.meter_id,
    _TABLE.started_at,
    finite(_TABLE.ended_at),
    _TABLE.ended_by,
    _TABLE.overlapping,
)
_ROW = rows_of(Session, _COLUMNS)
_INFINITY = text("'infinity'")
_OF_ID = _TABLE.id == bindparam("session_id")
_OF_VEHICLE, _OF_METER = _TABLE.vehicle_id == bindparam("vehicle_id"), _TABLE.meter_id == bindparam("meter_id")

_GET = Statement(select(*_COLUMNS).where(_OF_ID))
_GET_SAME = Statement(select(*_COLUMNS).where(_OF_VEHICLE, _OF_METER, _TABLE.started_at == bindparam("started_at")))
_GET_OVERLAPPING = Statement(
    select(*_COLUMNS)
    .where(_OF_VEHICLE, _TABLE.started_at < bindparam("before"), _TABLE.ended_at > bindparam("since"))
    .order_by(_TABLE.started_at)
    .limit(1)
)
_GET_NEXT = Statement(
    select(*_COLUMNS).where(_OF_VEHICLE, _TABLE.started_at > bindparam("since")).order_by(_TABLE.started_at).limit(1)
)
_INSERT = Statement(
    insert(charging_sessions)
    .values(
        vehicle_id=bindparam("vehicle_id"),
        meter_id=bindparam("meter_id"),
        started_at=bindparam("started_at"),
        ended_at=func.coalesce(cast(bindparam("ended_at"), _TABLE.ended_at.type), _INFINITY),
        ended_by=bindparam("ended_by"),
    )
    .returning(*_COLUMNS)
)
_SET_END = Statement(
    update(charging_sessions).where(_OF_ID).values(ended_at=bindparam("new_end"), ended_by=None).returning(*_COLUMNS)
)
_CUT = Statement(update(charging_sessions).where(_OF_ID).values(ended_at=bindparam("new_end")))
_DELETE = Statement(delete(charging_sessions).where(_OF_ID).returning(*_COLUMNS))
_END_OVERDUE = Statement(
    update(charging_sessions)
    .where(
        _TABLE.id.in_(
            select(_TABLE.id)
            .where(_TABLE.ended_at == _INFINITY, _TABLE.started_at <= bindparam("started_until"))
            .limit(_OVERDUE_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
    )
    .values(ended_at=_TABLE.started_at + bindparam("longest"), ended_by=TOO_LONG)
    .returning(*_COLUMNS)
)
_LIST = Statement(
    select(*_COLUMNS).order_by(_TABLE.started_at.desc(), _TABLE.id.desc()).limit(bindparam("limit")),
    optional=(
        _OF_VEHICLE,
        _OF_METER,
        at_site(literal_column("'meter'"), _TABLE.meter_id),
        or_(has_in_id(_TABLE.vehicle_id), has_in_id(_TABLE.meter_id)),
        tuple_(_TABLE.started_at, _TABLE.id) < tuple_(bindparam("after_start"), bindparam("after_id")),
        *within_binding(_TABLE.vehicle_id),
    ),
)


def start_session(
    connection: psycopg.Connection,
    vehicle_id: str,
    meter_id: str,
    started_at: datetime,
    ended_at: datetime | None = None,
) -> tuple[Session, bool]:
    """Starts a session, or stores one that has ended; returns it and whether it is new.

    The same start again is the same session; with an end it is ended, see `end_session`. A start without an end that
    comes after a later session started is ended where that one starts, until its own end is reported; a session that
    starts before that assumed end cuts it. So the order in which chargers report does not matter. Raises
    SessionInTheWay, SessionEnded.
    """
    values: dict[str, Any] = {"vehicle_id": vehicle_id, "meter_id": meter_id, "started_at": started_at}
    with connection.transaction():
        _take_turn(connection, vehicle_id)
        if same := run(connection, _GET_SAME, values, row=_ROW).fetchone():
            return (same if ended_at is None else _set_end(connection, same, ended_at)), False
        values |= {"since": started_at, "before": ended_at or started_at + _MOMENT}
        other = run(connection, _GET_OVERLAPPING, values, row=_ROW).fetchone()
        if other and other.ended_by == NEXT_SESSION and other.started_at < started_at:
            _cut(connection, other, started_at)
            other = run(connection, _GET_OVERLAPPING, values, row=_ROW).fetchone()
        if other:
            raise SessionInTheWay(other)
        ended_by = None
        if ended_at is None and (following := run(connection, _GET_NEXT, values, row=_ROW).fetchone()):
            ended_at, ended_by = following.started_at, NEXT_SESSION
        values |= {"ended_at": ended_at, "ended_by": ended_by}
        session = one(run(connection, _INSERT, values, row=_ROW))
        mark_feed_stale(connection, vehicle_id, meter_id, started_at, ended_at)
    return session, True


def _cut(connection: psycopg.Connection, session: Session, ended_at: datetime) -> None:
    """Its end was assumed, from the next session that was known then: one that starts earlier is now its next."""
    mark_feed_stale(connection, session.vehicle_id, session.meter_id, ended_at, session.ended_at)
    run(connection, _CUT, {"session_id": session.id, "new_end": ended_at})


def end_session(
    connection: psycopg.Connection, session_id: int, ended_at: datetime, *, longest: timedelta
) -> Session | None:
    """Ends the session; None if there is no session with this id. The same end again changes nothing.

    A session that the engine ended gets the end that is reported. Raises SessionEnded, SessionEndsTooEarly,
    SessionTooLong, SessionInTheWay.
    """
    with connection.transaction():
        session = get_session(connection, session_id)
        if session is None:
            return None
        _take_turn(connection, session.vehicle_id)
        session = get_session(connection, session_id)
        if session is None:
            return None
        if ended_at <= session.started_at:
            raise SessionEndsTooEarly(session)
        if session.end_reason != REPORTED and ended_at > session.started_at + longest:
            raise SessionTooLong(session)
        return _set_end(connection, session, ended_at)


def _set_end(connection: psycopg.Connection, session: Session, ended_at: datetime) -> Session:
    if session.end_reason == REPORTED:
        if session.ended_at != ended_at:
            raise SessionEnded(session)
        return session
    values = {"vehicle_id": session.vehicle_id, "since": session.started_at}
    following = run(connection, _GET_NEXT, values, row=_ROW).fetchone()
    if following and following.started_at < ended_at:
        raise SessionEndsTooLate(following)
    before = session.ended_at
    changed_from, changed_to = (ended_at, before) if before is None or before > ended_at else (before, ended_at)
    mark_feed_stale(connection, session.vehicle_id, session.meter_id, changed_from, changed_to)
    return one(run(connection, _SET_END, {"session_id": session.id, "new_end": ended_at}, row=_ROW))


def end_overdue_sessions(connection: psycopg.Connection, now: datetime, *, longest: timedelta) -> int:
    """Ends open sessions that are older than `longest` at that age; returns how many, at most a thousand a call."""
    values = {"started_until": now - longest, "longest": longest}
    with connection.transaction():
        ended = run(connection, _END_OVERDUE, values, row=_ROW).fetchall()
        for session in ended:
            mark_feed_stale(connection, session.vehicle_id, session.meter_id, session.ended_at, None)
    return len(ended)


def delete_session(connection: psycopg.Connection, session_id: int) -> Session | None:
    """Deletes the session and returns it; None if there is none with this id."""
    with connection.transaction():
        session = get_session(connection, session_id)
        if session is None:
            return None
        _take_turn(connection, session.vehicle_id)
        session = run(connection, _DELETE, {"session_id": session_id}, row=_ROW).fetchone()
        if session is not None:
            mark_feed_stale(connection, session.vehicle_id, session.meter_id, session.started_at, session.ended_at)
        return session


def _take_turn(connection: psycopg.Connection, vehicle_id: str) -> None:
    connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"session {vehicle_id}"])


def get_session(connection: psycopg.Connection, session_id: int) -> Session | None:
    """By primary key."""
    return run(connection, _GET, {"session_id": session_id}, row=_ROW).fetchone()


def list_sessions(
    connection: psycopg.Connection,
    *,
    vehicle_id: str | None = None,
    meter_id: str | None = None,
    site: str | None = None,
    search: str | None = None,
    after: tuple[datetime, int] | None = None,
    limit: int,
    binding: Binding | None = None,
) -> list[Session]:
    """Sessions, the last started first, after the (started_at, id) `after`; of one vehicle, of one meter, or of all.

    `site` keeps those at meters of the site, `search` those with this text in the id of the vehicle or the meter.
    By charging_sessions_vehicle, charging_sessions_meter or charging_sessions_started, backwards.
    """
    values: dict[str, Any] = {"vehicle_id": vehicle_id, "meter_id": meter_id, "limit": limit}
    values |= {"site": site, "search": search}
    if after is not None:
        values["after_start"], values["after_id"] = after
    return run(connection, _LIST, values | binding_values(binding), row=_ROW).fetchall()
