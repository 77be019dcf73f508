"""Connections to Postgres: one pool a process, with the timeouts of the process's role, and what its errors mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import psycopg
from psycopg_pool import ConnectionPool

from models.settings import Settings

# A drain holds a batch of tens of thousands of rows in one transaction: seconds on a slow day, never a minute.
WORKER_STATEMENT_SECONDS = 60.0
WORKER_POOL_SIZE = 2
WORKER_WAIT_SECONDS = 1.0  # then the sweep comes again
LOCK_WAIT_SECONDS = 5.0
CONNECT_SECONDS = 3
# A web request that gets no connection, or none that answers, in this time is answered 503.
WEB_WAIT_SECONDS = 0.5
# A server that stands still can't time out its own statements: so long after they should have ended, we leave.
PATIENCE_SECONDS = 1.0

# SQLSTATE classes in which the row is at fault: data exception, integrity violation, raised by a trigger.
# Anything else (connection, deadlock, disk full, shutdown, missing table, …) is no fault of the data.
_PERMANENT_CLASSES = ("22", "23", "P0")
# Lost connection, deadlock, lock timeout, shutdown: the next try may well succeed.
_TRANSIENT_CLASSES = ("", "08", "40", "55", "57")


def open_web_pool(settings: Settings) -> ConnectionPool:
    """The pool of a web process: short waits, so that a request answers 503 rather than hangs."""
    return _open_pool(settings, "web", settings.db_pool_size, WEB_WAIT_SECONDS, settings.db_timeout_seconds)


def open_worker_pool(settings: Settings) -> ConnectionPool:
    """The pool of a worker process, which does one thing at a time."""
    return _open_pool(settings, "worker", WORKER_POOL_SIZE, WORKER_WAIT_SECONDS, WORKER_STATEMENT_SECONDS)


def _open_pool(settings: Settings, role: str, size: int, wait_seconds: float, statement_seconds: float):
    # Opens in the background: a process starts, and says what is wrong, without Postgres too.
    return ConnectionPool(
        settings.database_url,
        min_size=1,
        max_size=size,
        timeout=wait_seconds,
        reconnect_timeout=0,
        connection_class=BoundedConnection,
        check=_check,
        kwargs=connection_options(role, statement_seconds),
        configure=partial(_bound, statement_seconds + PATIENCE_SECONDS),
        name=role,
        open=True,
    )


class BoundedConnection(psycopg.Connection):
    """A connection on which no wait is endless, whatever has become of the server.

    A query that is not answered in time raises OperationalError and closes the connection.
    """

    patience_seconds = WORKER_STATEMENT_SECONDS + PATIENCE_SECONDS

    def wait(self, gen, interval=0.1, timeout=None):
        try:
            return super().wait(gen, interval, timeout or self.patience_seconds)
        except psycopg.errors._WaitTimeout:
            self.pgconn.finish()  # the answer may still come: never to be read as that of another query
            raise psycopg.OperationalError("Postgres does not answer") from None


def _bound(patience_seconds: float, connection: BoundedConnection) -> None:
    connection.patience_seconds = patience_seconds


def _check(connection: BoundedConnection) -> None:
    """Whether a pooled connection still answers: asked before each use, for a moment only."""
    with bounded(connection, WEB_WAIT_SECONDS):
        ConnectionPool.check_connection(connection)


@contextmanager
def bounded(connection: BoundedConnection, seconds: float) -> Iterator[None]:
    """No answer is waited for longer than so many seconds, for a while; then OperationalError, as ever."""
    usual = connection.patience_seconds
    connection.patience_seconds = seconds
    try:
        yield
    finally:
        connection.patience_seconds = usual


def connection_options(role: str, statement_seconds: float) -> dict:
    """What psycopg.connect is given: UTC, no JIT (its compile time dwarfs our queries), and bounds on every wait."""
    milliseconds = {
        "statement_timeout": statement_seconds * 1000,
        "lock_timeout": LOCK_WAIT_SECONDS * 1000,
        "idle_in_transaction_session_timeout": WORKER_STATEMENT_SECONDS * 1000,
    }
    options = [f"-c {name}={value:.0f}" for name, value in milliseconds.items()]
    return {
        "options": " ".join([*options, "-c timezone=UTC", "-c jit=off"]),
        "application_name": f"energy-{role}",
        "connect_timeout": CONNECT_SECONDS,
        # One round trip a query; what belongs together says so with `connection.transaction()`.
        "autocommit": True,
        # Planned with the values at hand: partitions are pruned by the planner, and a pooler may sit between.
        "prepare_threshold": None,
    }


def is_permanent(error: psycopg.Error) -> bool:
    """Whether the row that Postgres refused would be refused again: it belongs into the dead letters.

    A row without a partition comes as a check violation without a constraint: that is ours to mend, not the row's.
    """
    sqlstate = error.sqlstate or ""
    if sqlstate == "23514" and not error.diag.constraint_name:
        return False
    return sqlstate.startswith(_PERMANENT_CLASSES)


def is_transient(error: psycopg.Error) -> bool:
    """Whether an immediate retry may succeed. Neither transient nor permanent: disk full, missing partition."""
    return (error.sqlstate or "")[:2] in _TRANSIENT_CLASSES
