"""Who holds what in Postgres: sessions that block the engine, long transactions, replication slots without a reader."""

from typing import NamedTuple

import psycopg
from psycopg.rows import class_row

from models.readings import KINDS

# A transaction of another program is long from this age on, and sooner if it does nothing.
LONG_SECONDS = 600
IDLE_SECONDS = 60
# Of each kind; the oldest are enough to act on.
MAX_LISTED = 3
# The engine's own transactions are this short, unless they wait for another one.
_OWN_SECONDS = 10

_OWN = "application_name like 'energy-%%'"
# Lock modes that keep the drain from writing into a table. (Postgres' manual, "Explicit Locking")
_STRONG = ["ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"]
# The drain updates rows of these tables. Row locks do not show in pg_locks; a lock of this mode comes with each.
_ROW = ["RowShareLock", "RowExclusiveLock"]
_ROWS_OF = ["ingest_positions", *(kind.live for kind in KINDS.values())]

# For a role that may not see other users' sessions, their state and times are null.
_SESSION = """pid, coalesce(nullif(application_name, ''), 'no name') as application, state,
  extract(epoch from clock_timestamp() - coalesce(xact_start, backend_start))::float8 as seconds,
  case when %(detailed)s then usename end as user_name, case when %(detailed)s then left(query, 200) end as query"""

_BLOCKERS = f"""
with recursive
  waiting as (select pid from pg_stat_activity
              where datname = current_database() and {_OWN} and wait_event_type = 'Lock'),
  holding as (select pid from pg_locks
              where granted and locktype = 'relation' and relation >= 16384  -- no table of the catalogue
                and database = (select oid from pg_database where datname = current_database())
                and (mode = any(%(strong)s) or mode = any(%(row)s)
                     and relation in (select to_regclass(name) from unnest(%(rows_of)s::text[]) as name))),
  chain (pid) as (select pid from waiting union select pid from holding
                  union select unnest(pg_blocking_pids(pid)) from chain)
select {_SESSION} from pg_stat_activity
where pid in (select pid from chain) and pid <> pg_backend_pid() and cardinality(pg_blocking_pids(pid)) = 0
  and (not {_OWN} or xact_start < now() - make_interval(secs => %(own)s))
order by seconds desc nulls last limit %(limit)s"""

_LONG = f"""
select {_SESSION} from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and not {_OWN} and backend_type = 'client backend'
  and xact_start < now() - make_interval(secs => case when state like 'idle%%' then %(idle)s else %(long)s end)
order by xact_start limit %(limit)s"""

_IDLE_SLOTS = """
select slot_name as name, pg_wal_lsn_diff(
         case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end, restart_lsn)::int8
       as bytes
from pg_replication_slots where not active and restart_lsn is not null order by bytes desc"""


class Session(NamedTuple):
    """A session with an open transaction. `user_name` and `query` are None unless details are wanted."""

    pid: int
    application: str
    state: str | None
    seconds: float | None  # age of its transaction
    user_name: str | None
    query: str | None  # the last one

    def __str__(self) -> str:
        age = "of unknown age" if self.seconds is None else f"for {self.seconds:.0f} s"
        user = f", user {self.user_name}" if self.user_name else ""
        query = f", last query: {' '.join(self.query.split())}" if self.query else ""
        return f"session {self.pid} ({self.application}{user}, {self.state or 'state unknown'}, {age}{query})"


class Slot(NamedTuple):
    name: str
    bytes: int  # of write-ahead log that Postgres keeps for it


def list_blockers(connection: psycopg.Connection, *, detailed: bool) -> list[Session]:
    """The sessions that hold what the engine waits for, the oldest first: not those that wait for others themselves."""
    return _sessions(connection, _BLOCKERS, detailed, strong=_STRONG, row=_ROW, rows_of=_ROWS_OF, own=_OWN_SECONDS)


def list_long_transactions(connection: psycopg.Connection, *, detailed: bool) -> list[Session]:
    """Of other programs. They hold locks, and keep vacuum from removing what was deleted."""
    return _sessions(connection, _LONG, detailed, idle=IDLE_SECONDS, long=LONG_SECONDS)


def list_idle_slots(connection: psycopg.Connection) -> list[Slot]:
    """Replication slots that nobody reads, the largest first."""
    return connection.cursor(row_factory=class_row(Slot)).execute(_IDLE_SLOTS).fetchall()


def end_sessions(sessions: list[Session]) -> str:
    """The remedy, for psql."""
    ended = "; ".join(f"select pg_terminate_backend({session.pid})" for session in sessions)
    return f"end the transaction where it was begun, or in psql: {ended}"


def _sessions(connection: psycopg.Connection, statement: str, detailed: bool, **values: object) -> list[Session]:
    values |= {"detailed": detailed, "limit": MAX_LISTED}
    return connection.cursor(row_factory=class_row(Session)).execute(statement, values).fetchall()
