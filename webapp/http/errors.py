"""Errors as answers: one shape for all of them."""

from collections.abc import Callable, Iterator
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

from models.causes import find_cause, log_fields
from models.stream.admission import BacklogFull, OutcomeUnknown, StreamUnreachable, TokenReused, TokensUsedUp
from webapp.http.answers import Count, JsonObject, Time, json_response
from webapp.http.resources import current_resources

RETRY_AFTER_SECONDS = 5
UNAVAILABLE = "A server behind this one is unavailable; try again later"
log = structlog.get_logger()

FieldErrors = Annotated[
    dict[str, list[str]], Meta(description="why, by field; `_schema` for what is wrong with the whole")
]


class RowErrors(JsonObject):
    """Why one reading of several was refused. The first 100 are listed."""

    index: Annotated[Count, Meta(description="its place among the readings sent, from 0")]
    errors: FieldErrors


NoneAccepted = Annotated[Literal[0], Meta(description="with a list of errors: no reading was accepted")]
Rejected = Annotated[int, Meta(ge=1, description="with a list of errors: the number of readings")]

Unexamined = Annotated[
    int,
    Meta(
        ge=1,
        description="readings among those rejected that were not examined, because 500 before them had been rejected; "
        "if they are in an unusual format they may be good: send them apart from the bad ones",
    ),
]


class Error(JsonObject):
    """The shape of every error."""

    status_code: Annotated[int, Meta(ge=400, le=599)]
    path: str
    message: Annotated[str, Meta(description="for a person")]
    timestamp: Time
    request_id: Annotated[str, Meta(description="as in X-Request-ID; leads to the log")]
    errors: FieldErrors | list[RowErrors] | UnsetType = UNSET
    accepted: NoneAccepted | UnsetType = UNSET
    rejected: Rejected | UnsetType = UNSET
    unexamined: Unexamined | UnsetType = UNSET


class ApiError(Exception):
    """Answers the request with an error. `errors` are by field; `extra` are keywords of `error_response`."""

    def __init__(self, status: int, message: str, errors: Any = UNSET, **extra: Any):
        super().__init__(message)
        self.status, self.message, self.errors, self.extra = status, message, errors, extra


def not_found(what: str) -> ApiError:
    return ApiError(404, f"{what.capitalize()} not found")


def init_app(app: Flask) -> None:
    handlers: dict[type[Exception], Callable[[Any], Response]] = {
        ApiError: _api_error,
        ValidationError: _invalid,
        HTTPException: _http_error,
        BacklogFull: _backlog_full,
        StreamUnreachable: _stream_unreachable,
        OutcomeUnknown: _outcome_unknown,
        TokenReused: _token_reused,
        TokensUsedUp: _tokens_used_up,
        psycopg.OperationalError: _unavailable,
        psycopg.errors.ReadOnlySqlTransaction: _unavailable,
        PoolTimeout: _unavailable,
        CircuitBreakerError: _unavailable,
        redis.ConnectionError: _unavailable,
        redis.TimeoutError: _unavailable,
        Exception: _unexpected,
    }
    for error, handler in handlers.items():
        app.register_error_handler(error, handler)


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
    if status in (429, 503, 504):
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _api_error(error: ApiError) -> Response:
    return error_response(error.status, error.message, error.errors, **error.extra)


def _invalid(error: ValidationError) -> Response:
    messages: dict[str, Any] = error.normalized_messages()
    return error_response(422, "Validation failed", dict(_by_path(messages)))


def _by_path(messages: dict[str, Any], path: str = "") -> Iterator[tuple[str, list[str]]]:
    """The errors of nested fields under one name each, such as `periods.0.from`."""
    for name, found in messages.items():
        if isinstance(found, dict):
            yield from _by_path(found, f"{path}{name}.")
        else:
            yield f"{path}{name}", found


_NO_ROUTE = {
    404: "There is no such path; /docs shows all paths",
    405: "This path does not have this method; /docs shows the methods of each path",
}


def _http_error(error: HTTPException) -> Response:
    message = _NO_ROUTE.get(error.code or 500) or error.description or error.name
    response = error_response(error.code or 500, message)
    # Headers that the exception brings, such as Allow with a 405.
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _backlog_full(error: BacklogFull) -> Response:
    log.warning("ingest_refused", **log_fields(error))
    return error_response(503, "The backlog is full, nothing was accepted; try again later", reason="backlog_full")


def _stream_unreachable(error: StreamUnreachable) -> Response:
    log.warning("ingest_refused", **log_fields(error))
    return error_response(
        503, "The stream is unavailable, nothing was accepted; try again later", reason="redis_unavailable"
    )


def _outcome_unknown(error: OutcomeUnknown) -> Response:
    log.warning("ingest_outcome_unknown", reason=str(error))
    return error_response(
        504,
        "The answer of the stream got lost: the readings were accepted once or not at all. "
        "Send them again; with the same Idempotency-Key they are accepted once.",
    )


def _token_reused(_: TokenReused) -> Response:
    seconds = current_resources().settings.idempotency_ttl_seconds
    errors = {"Idempotency-Key": [f"Was used for another request within the last {seconds} seconds."]}
    return error_response(422, "Validation failed", errors, reason="token_reused")


def _tokens_used_up(error: TokensUsedUp) -> Response:
    limit, seconds = error.allowance.limit.burst, error.allowance.wait_seconds
    response = error_response(
        429,
        f"This API key has used {limit} Idempotency-Keys, as many as are remembered for it; nothing was accepted. "
        f"Try again in {seconds} s, send batches, or leave the header out",
        reason="tokens_used_up",
    )
    response.headers["Retry-After"] = str(seconds)
    return response


def _unavailable(error: Exception) -> Response:
    reason = "redis_unavailable" if isinstance(error, redis.RedisError) else "postgres_unavailable"
    log.warning("unavailable", **log_fields(error))
    cause = find_cause(error)
    message = f"{cause.summary}; {cause.request}" if cause else UNAVAILABLE
    return error_response(503, message, reason=reason)


def _unexpected(error: Exception) -> Response:
    """Discloses nothing of the error; the request id leads to its log line."""
    log.error("unexpected_error", exc_info=error)
    return error_response(500, "An unexpected error; the request id leads to the log")
