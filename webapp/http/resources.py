"""What the application holds open, for the views."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from circuitbreaker import CircuitBreaker, CircuitBreakerError
from flask import current_app
from psycopg_pool import PoolTimeout

from models.resources import Resources

# After this many failures in a row, requests no longer wait for Postgres; at intervals one request tries it again.
FAILURES_TO_OPEN = 3
PROBE_AFTER_SECONDS = 2


def is_out_of_reach(_type: type, error: BaseException) -> bool:
    """Whether Postgres could not be asked; a statement that took too long is no sign of that."""
    return isinstance(error, psycopg.OperationalError | PoolTimeout) and not isinstance(
        error, psycopg.errors.QueryCanceled
    )


def new_breaker() -> CircuitBreaker:
    return CircuitBreaker(FAILURES_TO_OPEN, PROBE_AFTER_SECONDS, is_out_of_reach, name="postgres")


def current_resources() -> Resources:
    """This process's connections, opened by create_app."""
    return current_app.extensions["resources"]


@contextmanager
def database() -> Iterator[psycopg.Connection]:
    """A connection of the pool, behind the circuit breaker.

    Raises PoolTimeout or psycopg.OperationalError where Postgres is out of reach, CircuitBreakerError where it
    has been so lately: all of them are answered 503.
    """
    breaker: CircuitBreaker = current_app.extensions["breaker"]
    if breaker.opened:
        raise CircuitBreakerError(breaker)
    with breaker, current_resources().database.connection() as connection:
        yield connection
