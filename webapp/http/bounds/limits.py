"""Applies the limits of keys to requests. Readings are counted by the append script (models/stream/admission.py)."""

from flask import Flask, Response, current_app, g, request

from models.access.keys import Key
from models.access.limits import Allowance, LimitReached, RequestLimits
from webapp.http.errors import error_response
from webapp.http.operations import declared
from webapp.http.resources import current_resources

HEADERS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")


def init_app(app: Flask) -> None:
    """After webapp.http.auth, which sets g.key."""
    app.extensions["request_limits"] = RequestLimits(app.extensions["resources"].settings)
    app.before_request(_count_request)
    app.after_request(_show_allowance)
    app.register_error_handler(LimitReached, _too_many)


def note_allowance(allowance: Allowance | None) -> None:
    """Adds the allowance to the headers of the answer."""
    g.allowance = allowance


def _count_request() -> None:
    key: Key | None = g.key
    if key is None:
        return
    per_second = key.requests_per_second or current_resources().settings.read_requests_per_second
    operation = declared(request.endpoint)
    if per_second and not (operation and operation.counts_readings):
        note_allowance(current_app.extensions["request_limits"].take(key.owner, per_second))


def _too_many(error: LimitReached) -> Response:
    note_allowance(error.allowance)
    seconds = error.allowance.wait_seconds
    response = error_response(429, f"This key's limit is reached, nothing was accepted; try again in {seconds} s")
    response.headers["Retry-After"] = str(seconds)
    return response


def _show_allowance(response: Response) -> Response:
    allowance: Allowance | None = g.get("allowance")
    if allowance and (response.status_code < 400 or response.status_code == 429):
        values = (allowance.limit.burst, allowance.remaining, allowance.full_in_seconds)
        response.headers.extend(zip(HEADERS, map(str, values), strict=True))
    return response
