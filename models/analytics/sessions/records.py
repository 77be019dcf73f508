"""Charging sessions: one vehicle at one meter from a start to an end. The fine-grained form of a mapping."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import psycopg
from psycopg.rows import args_row
from sqlalchemy import bindparam, insert, select, text, tuple_, update

from models.access.bindings import Binding, binding_values, within_binding
from models.analytics.energy.performance import Performance, get_performances
from models.analytics.energy.queries import EnergyQuery
from models.analytics.money.costs import Cost, get_costs
from models.schema.sessions import charging_sessions
from models.sql import one, read_sql
from models.statements import Statement, finite, rows_of, run
from models.storage.stale_marks import mark_feed_stale


class Session(msgspec.Struct, frozen=True):
    """[started_at, ended_at); `ended_at` is None while it is open."""

    id: int
    vehicle_id: str
    meter_id: str
    started_at: datetime
    ended_at: datetime | None

    def until(self, now: datetime) -> datetime:
        """Its end; of an open session `now`, but never before the start."""
        return max(self.started_at, self.ended_at or now)


class SessionError(Exception):
    """A session can't be started or ended because of `session`."""

    def __init__(self, session: Session):
        super().__init__(session)
        self.session = session


class SessionOpen(SessionError):
    """The vehicle has another open session."""


class SessionEnded(SessionError):
    """The session has ended already."""


class SessionEndsTooEarly(SessionError):
    """The session would end before it starts, or at once."""


_TABLE = charging_sessions.c
_COLUMNS = (_TABLE.id, _TABLE.vehicle_id, _TABLE.meter_id, _TABLE.started_at, finite(_TABLE.ended_at))
_ROW = rows_of(Session, _COLUMNS)
_OF_VEHICLE, _OF_METER = _TABLE.vehicle_id == bindparam("vehicle_id"), _TABLE.meter_id == bindparam("meter_id")

_GET = Statement(select(*_COLUMNS).where(_TABLE.id == bindparam("session_id")))
_GET_LOCKED = Statement(select(*_COLUMNS).where(_TABLE.id == bindparam("session_id")).with_for_update())
_GET_SAME = Statement(select(*_COLUMNS).where(_OF_VEHICLE, _OF_METER, _TABLE.started_at == bindparam("started_at")))
_GET_OPEN = Statement(select(*_COLUMNS).where(_OF_VEHICLE, _TABLE.ended_at == text("'infinity'")))
_INSERT = Statement(
    insert(charging_sessions)
    .values({name: bindparam(name) for name in ("vehicle_id", "meter_id", "started_at")})
    .returning(*_COLUMNS)
)
_SET_END = Statement(
    update(charging_sessions)
    .where(_TABLE.id == bindparam("session_id"))
    .values(ended_at=bindparam("ended_at"))
    .returning(*_COLUMNS)
)
_LIST = Statement(
    select(*_COLUMNS).order_by(_TABLE.started_at.desc(), _TABLE.id.desc()).limit(bindparam("limit")),
    optional=(
        _OF_VEHICLE,
        _OF_METER,
        tuple_(_TABLE.started_at, _TABLE.id) < tuple_(bindparam("after_start"), bindparam("after_id")),
        *within_binding(_TABLE.vehicle_id),
    ),
)


def start_session(
    connection: psycopg.Connection, vehicle_id: str, meter_id: str, started_at: datetime
) -> tuple[Session, bool]:
    """Starts a session; returns it and whether it is new. The same start again is the same session, ended or not.

    Raises SessionOpen if the vehicle has another open session. One transaction: the session and its stale marks.
    """
    values = {"vehicle_id": vehicle_id, "meter_id": meter_id, "started_at": started_at}
    with connection.transaction():
        # Two starts of one vehicle at a time would both find no open session.
        connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"session {vehicle_id}"])
        if same := run(connection, _GET_SAME, values, row=_ROW).fetchone():
            return same, False
        if other := run(connection, _GET_OPEN, values, row=_ROW).fetchone():
            raise SessionOpen(other)
        session = one(run(connection, _INSERT, values, row=_ROW))
        mark_feed_stale(connection, vehicle_id, meter_id, started_at, None)
    return session, True


def end_session(connection: psycopg.Connection, session_id: int, ended_at: datetime) -> Session | None:
    """Ends the open session; None if there is no session with this id.

    Raises SessionEnded or SessionEndsTooEarly. One transaction: the session and its stale marks.
    """
    values = {"session_id": session_id, "ended_at": ended_at}
    with connection.transaction():
        session = run(connection, _GET_LOCKED, values, row=_ROW).fetchone()
        if session is None:
            return None
        if session.ended_at is not None:
            raise SessionEnded(session)
        if ended_at <= session.started_at:
            raise SessionEndsTooEarly(session)
        mark_feed_stale(connection, session.vehicle_id, session.meter_id, ended_at, None)
        return one(run(connection, _SET_END, values, row=_ROW))


def get_session(connection: psycopg.Connection, session_id: int) -> Session | None:
    """By primary key."""
    return run(connection, _GET, {"session_id": session_id}, row=_ROW).fetchone()


def list_sessions(
    connection: psycopg.Connection,
    *,
    vehicle_id: str | None = None,
    meter_id: str | None = None,
    after: tuple[datetime, int] | None = None,
    limit: int,
    binding: Binding | None = None,
) -> list[Session]:
    """Sessions, the last started first, after the (started_at, id) `after`; of one vehicle, of one meter, or of all.

    By charging_sessions_vehicle, charging_sessions_meter or charging_sessions_started, backwards.
    """
    values: dict[str, Any] = {"vehicle_id": vehicle_id, "meter_id": meter_id, "limit": limit}
    if after is not None:
        values["after_start"], values["after_id"] = after
    return run(connection, _LIST, values | binding_values(binding), row=_ROW).fetchall()


# ── Reports ──────────────────────────────────────────────────────────────────────────────────────────────────


class SessionReport(NamedTuple):
    """A session with its energy and cost; the states of charge are the first and the last reported within it."""

    session: Session
    performance: Performance
    costs: list[Cost]
    soc_from: float | None
    soc_to: float | None


class _Soc(NamedTuple):
    first: float | None
    last: float | None


_SOC = read_sql(__file__, "soc")


def report_sessions(
    connection: psycopg.Connection, sessions: Sequence[Session], now: datetime, *, heartbeat_seconds: int
) -> list[SessionReport]:
    """The energy and cost of each session as of `now`, in the order given; from history, in a few statements."""
    if not sessions:
        return []
    queries = [EnergyQuery(s.vehicle_id, s.started_at, s.until(now), s.meter_id) for s in sessions]
    performances = get_performances(connection, queries, heartbeat_seconds=heartbeat_seconds)
    costs = get_costs(connection, queries, heartbeat_seconds=heartbeat_seconds)
    values = {
        "vehicle_ids": [query.vehicle_id for query in queries],
        "starts": [query.start for query in queries],
        "ends": [query.end for query in queries],
        "start": min(query.start for query in queries),
        "end": max(query.end for query in queries),
    }
    socs = connection.cursor(row_factory=args_row(_Soc)).execute(_SOC, values).fetchall()
    return [
        SessionReport(session, performance, cost, soc.first, soc.last)
        for session, performance, cost, soc in zip(sessions, performances, costs, socs, strict=True)
    ]
