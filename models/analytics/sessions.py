"""Charging sessions: one vehicle at one meter from a start to an end. The fine-grained form of a mapping."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

from models.access.bindings import Binding, bound_to
from models.analytics.energy.feeds import EnergyQuery
from models.analytics.energy.performance import Performance, get_performances
from models.analytics.energy.registers import instants
from models.analytics.money.costs import Cost, get_costs
from models.readings import VEHICLE, rfc3339
from models.storage.stale_marks import mark_feed_stale


@dataclass(frozen=True)
class Session:
    """[started_at, ended_at); `ended_at` is None while it is open."""

    id: int
    vehicle_id: str
    meter_id: str
    started_at: datetime
    ended_at: datetime | None

    def until(self, now: datetime) -> datetime:
        """The end of what there is of it: never before the start."""
        return max(self.started_at, self.ended_at or now)


class SessionOpen(Exception):
    """The vehicle has another session that is open: `session`."""

    def __init__(self, session: Session):
        super().__init__(session)
        self.session = session


class SessionEnded(Exception):
    """It has ended already, at the time that `session` says."""

    def __init__(self, session: Session):
        super().__init__(session)
        self.session = session


_COLUMNS = "id, vehicle_id, meter_id, started_at, nullif(ended_at, 'infinity') as ended_at"


def start_session(
    connection: psycopg.Connection, vehicle_id: str, meter_id: str, started_at: datetime
) -> tuple[Session, bool]:
    """Opens a session; returns it and whether it is new. The same start again is the same session, ended or not.

    Raises SessionOpen where the vehicle has another one open. One transaction: a session and its marks.
    """
    given = {"vehicle": vehicle_id, "meter": meter_id, "start": started_at}
    with connection.transaction():
        # Two starts of one vehicle at a time would both find nothing open.
        connection.execute("select pg_advisory_xact_lock(hashtextextended('session ' || %(vehicle)s, 0))", given)
        there = _one(
            connection,
            "vehicle_id = %(vehicle)s and started_at = %(start)s and meter_id = %(meter)s",
            given,
        )
        if there:
            return there, False
        if still_open := _one(connection, "vehicle_id = %(vehicle)s and ended_at = 'infinity'", given):
            raise SessionOpen(still_open)
        new = (
            _cursor(connection)
            .execute(
                f"""insert into charging_sessions (vehicle_id, meter_id, started_at)
                    values (%(vehicle)s, %(meter)s, %(start)s) returning {_COLUMNS}""",
                given,
            )
            .fetchone()
        )
        mark_feed_stale(connection, vehicle_id, meter_id, started_at, None)
    return new, True


def end_session(connection: psycopg.Connection, session_id: int, ended_at: datetime) -> Session | None:
    """Ends the open session; None where there is none of this id.

    Raises SessionEnded where it has ended, ValueError where the end is not after the start.
    """
    with connection.transaction():
        found = _one(connection, "id = %(id)s for update", {"id": session_id})
        if found is None:
            return None
        if found.ended_at is not None:
            raise SessionEnded(found)
        if ended_at <= found.started_at:
            raise ValueError(f"the session began at {rfc3339(found.started_at)}")
        ended = (
            _cursor(connection)
            .execute(
                f"update charging_sessions set ended_at = %s where id = %s returning {_COLUMNS}", [ended_at, session_id]
            )
            .fetchone()
        )
        mark_feed_stale(connection, found.vehicle_id, found.meter_id, ended_at, None)
    return ended


def get_session(connection: psycopg.Connection, session_id: int) -> Session | None:
    """By primary key."""
    return _one(connection, "id = %(id)s", {"id": session_id})


def list_sessions(
    connection: psycopg.Connection,
    *,
    vehicle_id: str | None = None,
    meter_id: str | None = None,
    after: tuple[datetime, int] | None = None,
    limit: int,
    binding: Binding | None = None,
) -> list[Session]:
    """Sessions, the last started first, of one vehicle, of one meter, or of all vehicles that are bound.

    By charging_sessions_vehicle, charging_sessions_meter or charging_sessions_started, backwards.
    """
    where, values = bound_to("vehicle_id", binding)
    where.append("true")
    for column, wanted in (("vehicle_id", vehicle_id), ("meter_id", meter_id)):
        if wanted is not None:
            where.append(f"{column} = %s")
            values.append(wanted)
    if after is not None:
        where.append("(started_at, id) < (%s, %s)")
        values += after
    return (
        _cursor(connection)
        .execute(
            f"""select {_COLUMNS} from charging_sessions where {" and ".join(where)}
                order by charging_sessions.started_at desc, id desc limit %s""",
            [*values, limit],
        )
        .fetchall()
    )


def _one(connection: psycopg.Connection, condition: str, values: dict) -> Session | None:
    return _cursor(connection).execute(f"select {_COLUMNS} from charging_sessions where {condition}", values).fetchone()


def _cursor(connection: psycopg.Connection) -> psycopg.Cursor[Session]:
    return connection.cursor(row_factory=class_row(Session))


# ── What there is to tell of them ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class SessionReport:
    """A session, its energy and what it cost; the states of charge are the first and the last known within it."""

    session: Session
    performance: Performance
    costs: list[Cost]
    soc_from: float | None
    soc_to: float | None


# By vehicle_readings_history_covering, from either end, no further than to the first reading with one.
_WITHIN = ["query.vehicle_id", ["%(start)s", "query.starts"], ["%(end)s", "query.ends"], ["soc"]]
_SOC = f"""
select first.soc, last.soc
from unnest(%(vehicle_ids)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
  with ordinality as query (vehicle_id, starts, ends, place)
left join lateral (
  select soc from {instants(VEHICLE, *_WITHIN, oldest_first=True)} as instant
  where soc is not null order by recorded_at limit 1
) as first on true
left join lateral (
  select soc from {instants(VEHICLE, *_WITHIN)} as instant
  where soc is not null order by recorded_at desc limit 1
) as last on true
order by place
"""


def report_sessions(
    connection: psycopg.Connection, sessions: Sequence[Session], now: datetime, *, heartbeat_seconds: int
) -> list[SessionReport]:
    """What each session took in and cost, as of now, in the order given; from history, all in a few statements."""
    if not sessions:
        return []
    queries = [EnergyQuery(s.vehicle_id, s.started_at, s.until(now), s.meter_id) for s in sessions]
    performances = get_performances(connection, queries, heartbeat_seconds=heartbeat_seconds)
    costs = get_costs(connection, queries, heartbeat_seconds=heartbeat_seconds)
    soc = connection.execute(
        _SOC,
        {
            "vehicle_ids": [a.vehicle_id for a in queries],
            "starts": [a.start for a in queries],
            "ends": [a.end for a in queries],
            "start": min(a.start for a in queries),
            "end": max(a.end for a in queries),
        },
    ).fetchall()
    return [SessionReport(*rows[:3], *rows[3]) for rows in zip(sessions, performances, costs, soc, strict=True)]
