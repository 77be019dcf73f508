"""Reports of charging sessions: their energy, cost and states of charge, from history."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import psycopg
import structlog
from psycopg.rows import args_row

from models.analytics.energy.performance import Performance, get_performances
from models.analytics.energy.queries import EnergyQuery
from models.analytics.money.costs import Cost, get_costs
from models.analytics.sessions.records import Session
from models.sql import read_sql

log = structlog.get_logger()

# If a page takes longer than this part of its time, its sessions are computed one by one.
_TOGETHER = 0.5
# Of the time that is left then, a single session gets this part.
_ALONE = 0.25


class SessionReport(NamedTuple):
    """The states of charge are the first and the last reported within the session.

    Without a `performance` the rest is empty: computing it failed or took too long.
    """

    session: Session
    performance: Performance | None = None
    costs: Sequence[Cost] = ()
    soc_from: float | None = None
    soc_to: float | None = None


class _Soc(NamedTuple):
    first: float | None
    last: float | None


_SOC = read_sql(__file__, "soc")


def report_sessions(
    connection: psycopg.Connection,
    sessions: Sequence[Session],
    now: datetime,
    *,
    heartbeat_seconds: int,
    longest: timedelta,
    patience_seconds: float,
) -> list[SessionReport]:
    """The energy and cost of each session as of `now`, in the order given, of its first `longest`.

    In a few statements for all. If these fail or take too long, the sessions are computed one by one, the shortest
    first, so that one of them never costs the others their report. `connection` must be in autocommit mode.
    """
    give_up_at = time.monotonic() + patience_seconds
    queries = [
        EnergyQuery(s.vehicle_id, s.started_at, min(s.until(now), s.started_at + longest), s.meter_id) for s in sessions
    ]
    if not sessions:
        return []
    try:
        return _report(connection, sessions, queries, heartbeat_seconds, patience_seconds * _TOGETHER)
    except (psycopg.errors.QueryCanceled, psycopg.DataError):
        pass
    reports = {session.id: SessionReport(session) for session in sessions}
    pairs = zip(sessions, queries, strict=True)
    for session, query in sorted(pairs, key=lambda pair: pair[1].end - pair[1].start):
        left = give_up_at - time.monotonic()
        if left <= 0:
            break
        try:
            (reports[session.id],) = _report(connection, [session], [query], heartbeat_seconds, left * _ALONE)
        except (psycopg.errors.QueryCanceled, psycopg.DataError) as error:
            log.warning("session_not_computed", session=session.id, error=type(error).__name__)
    return [reports[session.id] for session in sessions]


def _report(
    connection: psycopg.Connection,
    sessions: Sequence[Session],
    queries: Sequence[EnergyQuery],
    heartbeat_seconds: int,
    seconds: float,
) -> list[SessionReport]:
    """Raises QueryCanceled if one of the statements takes longer than `seconds`."""
    values = {
        "vehicle_ids": [query.vehicle_id for query in queries],
        "starts": [query.start for query in queries],
        "ends": [query.end for query in queries],
        "start": min(query.start for query in queries),
        "end": max(query.end for query in queries),
    }
    with connection.transaction():
        connection.execute("select set_config('statement_timeout', %s, true)", [f"{max(seconds, 0.001) * 1000:.0f}"])
        performances = get_performances(connection, queries, heartbeat_seconds=heartbeat_seconds)
        costs = get_costs(connection, queries, heartbeat_seconds=heartbeat_seconds)
        socs = connection.cursor(row_factory=args_row(_Soc)).execute(_SOC, values).fetchall()
    return [
        SessionReport(session, performance, cost, soc.first, soc.last)
        for session, performance, cost, soc in zip(sessions, performances, costs, socs, strict=True)
    ]
