"""The application's connections, for views; Postgres is behind a circuit breaker."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from circuitbreaker import CircuitBreaker, CircuitBreakerError
from flask import current_app
from psycopg_pool import PoolTimeout

from models.resources import Resources

# After this number of failures in a row, requests fail at once instead of waiting for Postgres.
FAILURES_TO_OPEN = 3
PROBE_AFTER_SECONDS = 2  # then one request tries Postgres again


def is_unavailable(_type: type, error: BaseException) -> bool:
    """Whether the error means that Postgres is unavailable. A statement timeout does not."""
    return isinstance(error, psycopg.OperationalError | PoolTimeout) and not isinstance(
        error, psycopg.errors.QueryCanceled
    )


def new_breaker() -> CircuitBreaker:
    return CircuitBreaker(FAILURES_TO_OPEN, PROBE_AFTER_SECONDS, is_unavailable, name="postgres")


def current_resources() -> Resources:
    """This process's connections, opened by create_app."""
    resources: Resources = current_app.extensions["resources"]
    return resources


@contextmanager
def database() -> Iterator[psycopg.Connection]:
    """A connection of the pool.

    Raises PoolTimeout or psycopg.OperationalError if Postgres is unavailable, and CircuitBreakerError without trying
    if it just was. Each is answered 503.
    """
    breaker: CircuitBreaker = current_app.extensions["breaker"]
    if breaker.opened:
        raise CircuitBreakerError(breaker)
    with breaker, current_resources().database.connection() as connection:
        yield connection
