"""One error shape for everything that goes wrong, as the HTTP contract has it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import psycopg
import redis
import structlog
from circuitbreaker import CircuitBreakerError
from flask import Flask, Response, g, request
from marshmallow import ValidationError
from msgspec import UNSET, Meta, UnsetType
from psycopg_pool import PoolTimeout
from werkzeug.exceptions import HTTPException

from models.stream.admission import BacklogFull, OutcomeUnknown, StreamUnreachable, TokenReused
from webapp.http.answers import Count, JsonObject, Time
from webapp.http.encoding import json_response

RETRY_AFTER_SECONDS = 5
log = structlog.get_logger()

FieldErrors = Annotated[
    dict[str, list[str]], Meta(description="why, by field; `_schema` for what is wrong with the whole")
]


class RowErrors(JsonObject):
    """Why one reading of several was refused. The first 100 are listed."""

    index: Annotated[Count, Meta(description="its place among the readings sent, from 0")]
    errors: FieldErrors


class Error(JsonObject):
    """The shape of every error."""

    status_code: Annotated[int, Meta(ge=400, le=599)]
    path: str
    message: Annotated[str, Meta(description="for a person")]
    timestamp: Time
    request_id: Annotated[str, Meta(description="as in X-Request-ID; leads to the log")]
    errors: FieldErrors | list[RowErrors] | UnsetType = UNSET
    accepted: Annotated[Literal[0], Meta(description="with a list of errors: no reading was accepted")] | UnsetType = (
        UNSET
    )
    rejected: Annotated[int, Meta(ge=1, description="with a list of errors: the number of readings")] | UnsetType = (
        UNSET
    )


class ApiError(Exception):
    """Answers a request with an error. `errors` names what was wrong by field; `extra` goes to `error_response`."""

    def __init__(self, status: int, message: str, errors: Any = UNSET, **extra: Any):
        super().__init__(message)
        self.status, self.message, self.errors, self.extra = status, message, errors, extra


def not_found(what: str) -> ApiError:
    return ApiError(404, f"{what.capitalize()} not found")


def init_app(app: Flask) -> None:
    app.register_error_handler(ApiError, lambda e: error_response(e.status, e.message, e.errors, **e.extra))
    app.register_error_handler(ValidationError, _invalid)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(
        BacklogFull, _nothing_taken("backlog_full", "The backlog is full, nothing was taken; try again later")
    )
    app.register_error_handler(
        StreamUnreachable,
        _nothing_taken("redis_unavailable", "The telemetry stream is out of reach, nothing was taken; try again later"),
    )
    app.register_error_handler(OutcomeUnknown, _outcome_unknown)
    app.register_error_handler(TokenReused, _token_reused)
    for unavailable in (
        psycopg.OperationalError,
        PoolTimeout,
        CircuitBreakerError,
        redis.ConnectionError,
        redis.TimeoutError,
    ):
        app.register_error_handler(unavailable, _unavailable)
    app.register_error_handler(Exception, _unexpected)


def error_response(
    status: int,
    message: str,
    errors: Any = UNSET,
    *,
    reason: str | None = None,
    shape: type[Error] = Error,
    **more: Any,
) -> Response:
    """`reason` is the label of the metric, if the status alone is too coarse (webapp/http/metrics.py).

    `more` are the other fields of `shape`.
    """
    g.refusal = reason
    body = shape(
        status_code=status,
        path=request.path,
        message=message,
        timestamp=datetime.now(UTC).replace(microsecond=0),
        request_id=g.get("request_id", ""),
        errors=errors,
        **more,
    )
    response = json_response(body, status)
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _invalid(error: ValidationError) -> Response:
    return error_response(422, "Validation failed", dict(_by_path(error.normalized_messages())))


def _by_path(messages: dict, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """The errors of nested fields under one name each, such as `periods.0.from`."""
    for name, found in messages.items():
        if isinstance(found, dict):
            yield from _by_path(found, f"{path}{name}.")
        else:
            yield f"{path}{name}", found


def _http_error(error: HTTPException) -> Response:
    response = error_response(error.code or 500, error.description or error.name)
    # What the exception itself has to say in headers, such as Allow with a 405.
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _nothing_taken(reason: str, message: str):
    def handle(error: Exception) -> Response:
        log.warning("ingest_refused", reason=str(error))
        return error_response(503, message, reason=reason)

    return handle


def _outcome_unknown(error: OutcomeUnknown) -> Response:
    log.warning("ingest_outcome_unknown", reason=str(error))
    response = error_response(
        504,
        "The answer of the telemetry stream got lost: the readings were taken once or not at all. "
        "Send them again; with the same Idempotency-Key they are taken once.",
    )
    response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _token_reused(_: TokenReused) -> Response:
    return error_response(
        422,
        "Validation failed",
        {"Idempotency-Key": ["Was used for another request within the last 24 hours."]},
        reason="token_reused",
    )


def _unavailable(error: Exception) -> Response:
    log.warning("unavailable", error=type(error).__name__, reason=str(error).strip())
    away = "redis_unavailable" if isinstance(error, redis.RedisError) else "postgres_unavailable"
    return error_response(503, "A server behind this one is out of reach; try again later", reason=away)


def _unexpected(error: Exception) -> Response:
    """Tells nothing of the inside; the request id leads to the log line."""
    log.error("unexpected_error", exc_info=error)
    return error_response(500, "Something went wrong on our side; the request id leads to the log")
