"""One error shape for everything that goes wrong, as the HTTP contract has it."""

from datetime import UTC, datetime
from typing import Any

import psycopg
import redis
import structlog
from circuitbreaker import CircuitBreakerError
from flask import Flask, Response, g, jsonify, request
from marshmallow import ValidationError
from psycopg_pool import PoolTimeout
from werkzeug.exceptions import HTTPException

from models.stream.admission import BacklogFull, OutcomeUnknown, StreamUnreachable, TokenReused

RETRY_AFTER_SECONDS = 5
log = structlog.get_logger()


class ApiError(Exception):
    """An answer other than success: `message` says what was wrong, `errors` where."""

    def __init__(self, status: int, message: str, errors: Any = None, **extra: Any):
        super().__init__(message)
        self.status, self.message, self.errors, self.extra = status, message, errors, extra


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
    status: int, message: str, errors: Any = None, *, reason: str | None = None, **extra: Any
) -> Response:
    """`reason` is for the figures, where the status alone does not tell it (webapp/http/metrics.py)."""
    g.refusal = reason
    body = {
        "statusCode": status,
        "path": request.path,
        "message": message,
        "timestamp": datetime.now(UTC).replace(microsecond=0),
        "requestId": g.get("request_id", ""),
        **extra,
    }
    if errors:
        body["errors"] = errors
    response = jsonify(body)
    response.status_code = status
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _invalid(error: ValidationError) -> Response:
    return error_response(422, "Validation failed", error.normalized_messages())


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
