"""Connections to Postgres: a pool a process, with its role's timeouts, and which errors are transient or permanent."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from models.settings import Settings

# A drain stores a batch of tens of thousands of rows in one transaction, which takes seconds, never a minute.
WORKER_STATEMENT_SECONDS = 60.0
WORKER_POOL_SIZE = 2
WORKER_WAIT_SECONDS = 1.0  # for a connection; the sweep starts the task again
LOCK_WAIT_SECONDS = 5.0
CONNECT_SECONDS = 3
# A web request that has no working connection after this time gets 503.
WEB_WAIT_SECONDS = 0.5
# A frozen server can't end its own statements: the client gives up this long after the statement's timeout.
GRACE_SECONDS = 1.0

# SQLSTATE classes of a bad row: data exception, integrity violation, raised by a trigger.
_PERMANENT_CLASSES = ("22", "23", "P0")
# SQLSTATE classes after which a retry may succeed: lost connection, deadlock, lock timeout, shutdown.
_TRANSIENT_CLASSES = ("", "08", "40", "55", "57")


class BoundedConnection(psycopg.Connection):
    """A connection that waits for the server for `wait_seconds` at most.

    A query that is not answered in time raises OperationalError and closes the connection.
    """

    wait_seconds = WORKER_STATEMENT_SECONDS + GRACE_SECONDS

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, timeout or self.wait_seconds)
        except psycopg.errors._WaitTimeout:
            self.pgconn.finish()  # a late answer must not be read as that of the next query
            raise psycopg.OperationalError("Postgres does not answer") from None


Pool = ConnectionPool[BoundedConnection]


def open_web_pool(settings: Settings) -> Pool:
    """The pool of a web process: short waits, so that a request gets 503 and does not hang."""
    return _open_pool(settings, "web", settings.db_pool_size, WEB_WAIT_SECONDS, settings.db_timeout_seconds)


def open_worker_pool(settings: Settings) -> Pool:
    """The pool of a worker process, which runs one task at a time."""
    return _open_pool(settings, "worker", WORKER_POOL_SIZE, WORKER_WAIT_SECONDS, WORKER_STATEMENT_SECONDS)


def _open_pool(settings: Settings, role: str, size: int, wait_seconds: float, statement_seconds: float) -> Pool:
    # Opens in the background: a process starts, and reports its readiness, without Postgres too.
    return ConnectionPool(
        settings.database_url,
        min_size=1,
        max_size=size,
        timeout=wait_seconds,
        reconnect_timeout=0,
        connection_class=BoundedConnection,
        check=_check_connection,
        kwargs=connection_options(role, statement_seconds),
        reset=_close_read_only,
        configure=partial(_set_wait, statement_seconds + GRACE_SECONDS),
        name=role,
        open=True,
    )


def _set_wait(seconds: float, connection: BoundedConnection) -> None:
    connection.wait_seconds = seconds


def _close_read_only(connection: BoundedConnection) -> None:
    """A session keeps the default that it began with: after one failed use, the next session can write again."""
    if connection.pgconn.parameter_status(b"default_transaction_read_only") == b"on":
        connection.close()


def _check_connection(connection: BoundedConnection) -> None:
    """Runs before each use of a pooled connection; one that does not answer is replaced."""
    with bounded(connection, WEB_WAIT_SECONDS):
        ConnectionPool.check_connection(connection)


@contextmanager
def bounded(connection: BoundedConnection, seconds: float) -> Iterator[None]:
    """Within this context no answer takes longer than `seconds`: OperationalError is raised instead."""
    before = connection.wait_seconds
    connection.wait_seconds = seconds
    try:
        yield
    finally:
        connection.wait_seconds = before


def connection_options(role: str, statement_seconds: float) -> dict[str, Any]:
    """Arguments of psycopg.connect: UTC, a bound on every wait, and no JIT, which takes longer than these queries."""
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
        # Without begin and commit a query is one round trip; `connection.transaction()` begins a transaction.
        "autocommit": True,
        # Never prepared: a plan that knows the values can skip partitions, and a pooler may stand in between.
        "prepare_threshold": None,
    }


def is_permanent(error: psycopg.Error) -> bool:
    """Whether Postgres would refuse the row at every retry, so that it belongs in the dead letters.

    A missing partition is a check violation that names no constraint; it is not the row's fault.
    """
    sqlstate = error.sqlstate or ""
    if sqlstate == "23514" and not error.diag.constraint_name:
        return False
    return sqlstate.startswith(_PERMANENT_CLASSES)


def is_transient(error: psycopg.Error) -> bool:
    """Whether an immediate retry may succeed. An error that is neither transient nor permanent needs an operator:
    a full disk, a missing partition.
    """
    return (error.sqlstate or "")[:2] in _TRANSIENT_CLASSES
