"""Errors of servers lead to their cause: by class and text, as psycopg and redis-py raise them."""

import psycopg
import pytest
import redis
from psycopg_pool import PoolTimeout

from models.causes import describe, find_cause, log_fields
from webapp.http.errors import UNAVAILABLE

CONNECTION = 'connection failed: connection to server at "10.0.0.7", port 5432 failed: '
FATAL = f"{CONNECTION}FATAL:  "

KNOWN = [
    (redis.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), "append-only file"),
    (redis.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "Redis is out of memory"),
    (redis.ConnectionError("max number of clients reached"), "Redis has no connection left"),
    (redis.AuthenticationError("invalid username-password pair or user is disabled."), "refuses this user"),
    (redis.exceptions.NoPermissionError("this user has no permissions to run the 'xadd' command"), "refuses this user"),
    (redis.exceptions.ReadOnlyError("You can't write against a read only replica."), "Redis is a replica"),
    (redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory"), "loading"),
    (redis.ConnectionError("Error 111 connecting to 127.0.0.1:1. Connection refused."), "address of Redis"),
    (redis.ConnectionError("Connection closed by server."), "address of Redis"),
    (redis.TimeoutError("Timeout reading from 127.0.0.1:6379"), "Redis does not answer in time"),
    (psycopg.errors.ReadOnlySqlTransaction("cannot execute UPDATE in a read-only transaction"), "is read-only"),
    (psycopg.errors.DiskFull('could not extend file "base/5/16384": No space left on device'), "disk of Postgres"),
    (psycopg.OperationalError(f"{FATAL}could not write init file: No space left on device"), "disk of Postgres"),
    (psycopg.OperationalError(f"{FATAL}sorry, too many clients already"), "Postgres has no connection left"),
    (psycopg.OperationalError(f"{FATAL}the database system is starting up"), "starting or shutting down"),
    (psycopg.errors.AdminShutdown("terminating connection due to administrator command"), "shutting down"),
    (psycopg.OperationalError(f'{FATAL}password authentication failed for user "x"'), "refuses this user"),
    (psycopg.OperationalError(f'{FATAL}database "none" does not exist'), "refuses this user or database"),
    (psycopg.errors.CheckViolation('no partition of relation "meter_readings_history" found'), "no partition"),
    (psycopg.errors.UndefinedTable('relation "meter_readings_live" does not exist'), "schema lacks"),
    (psycopg.errors.InsufficientPrivilege("permission denied for table alerts"), "lacks a right"),
    (psycopg.errors.LockNotAvailable("canceling statement due to lock timeout"), "holds a lock"),
    (psycopg.errors.QueryCanceled("canceling statement due to statement timeout"), "took longer"),
    (PoolTimeout("couldn't get a connection after 0.50 sec"), "No connection to Postgres was free"),
    (psycopg.OperationalError(f"{CONNECTION}Connection refused"), "address of Postgres"),
    (psycopg.errors.ConnectionTimeout("connection timeout expired"), "Postgres does not answer in time"),
    (psycopg.OperationalError("Postgres does not answer"), "Postgres does not answer in time"),
]


@pytest.mark.parametrize(("error", "words"), KNOWN, ids=[describe(error)[:60] for error, _ in KNOWN])
def test_an_error_leads_to_its_cause(error, words):
    cause = find_cause(error)
    assert cause
    assert words in cause.summary
    assert find_cause(describe(error)) == cause  # as the drain stores it


def test_an_error_that_is_not_listed_has_no_cause():
    for error in (psycopg.errors.DivisionByZero("division by zero"), redis.ResponseError("ERR syntax error")):
        assert find_cause(error) is None
        assert log_fields(error) == {"error": type(error).__name__, "reason": str(error)}


def test_a_503_names_the_cause_and_no_address(client, app, monkeypatch):
    def fail(error):
        def raise_it(*_, **__):
            raise error

        monkeypatch.setattr("webapp.alerts.database", raise_it)
        answer = client.get("/v1/alerts")
        assert answer.status_code == 503
        return answer.json["message"]

    message = fail(psycopg.OperationalError(f"{FATAL}sorry, too many clients already"))
    assert message == "Postgres has no connection left (max_connections); try again later"
    assert "such as a shorter window" in fail(
        psycopg.errors.QueryCanceled("canceling statement due to statement timeout")
    )
    assert fail(psycopg.OperationalError("something else")) == UNAVAILABLE
