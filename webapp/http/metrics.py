"""Counters of requests, summed over the web's live processes. webapp/engine_metrics.py renders them."""

import time
from functools import cache

from flask import Flask, Response, g, request
from prometheus_client import Counter, Histogram

from models.observability.metrics import make_series, watch_pool
from models.observability.thread_ages import start_publication

# The reason of a refusal by status, unless `error_response(…, reason=…)` gives a more precise one.
REASONS = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "media_type",
    422: "validation",
    429: "rate_limited",
    500: "unexpected",
    503: "unavailable",
    504: "outcome_unknown",
}
OTHER = "other"
PRECISE_REASONS = (
    "backlog_full",
    "redis_unavailable",
    "postgres_unavailable",
    "token_reused",
    "tokens_used_up",
    "not_ready",
    "exports_busy",
    "busy",
    OTHER,
)
# A client may send any word as a method; without this list each word would make a series.
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

REQUESTS_REFUSED = Counter("energy_requests_refused_total", "Requests refused as a whole, by reason", ["reason"])
REQUEST_SECONDS = Histogram(
    "energy_request_seconds",
    "Time to answer a request, in seconds",
    ["route", "method", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)

make_series(REQUESTS_REFUSED, *REASONS.values(), *PRECISE_REASONS)


def init_app(app: Flask) -> None:
    app.before_request(_start_clock)
    app.after_request(_stop_clock)
    resources = app.extensions["resources"]
    watch_pool(resources.database)
    start_publication(resources.settings, "web", resources.database)


def _start_clock() -> None:
    g.started = time.perf_counter()


def _stop_clock(response: Response) -> Response:
    status = response.status_code
    if status >= 400:
        REQUESTS_REFUSED.labels(g.get("refusal") or REASONS.get(status, OTHER)).inc()
    route = request.url_rule.rule if request.url_rule else "unmatched"
    method = request.method if request.method in METHODS else OTHER
    observe_request(route, method, status, time.perf_counter() - g.started)
    return response


def observe_request(route: str, method: str, status: int, seconds: float) -> None:
    _seconds_of(route, method, status).observe(seconds)


@cache
def _seconds_of(route: str, method: str, status: int) -> Histogram:
    """The series of these labels; cached, because `labels()` takes as long as `observe()`."""
    return REQUEST_SECONDS.labels(route, method, status)
