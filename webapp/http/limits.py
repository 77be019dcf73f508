"""What a key may ask for. Readings are counted where they are admitted (models/stream/admission.py), requests here."""

from flask import Flask, Response, current_app, g, request

from models.access.keys import Key
from models.access.limits import Allowance, Charge, LimitReached, RequestLimits
from webapp.http.errors import error_response
from webapp.http.resources import current_resources

HEADERS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")


def init_app(app: Flask) -> None:
    """After webapp.http.auth: it must be known who asks."""
    app.extensions["request_limits"] = RequestLimits(app.extensions["resources"].settings)
    app.before_request(_count_request)
    app.after_request(_show_allowance)
    app.register_error_handler(LimitReached, _too_many)


def charge_for(key: Key | None, readings: int) -> Charge | None:
    """What so many readings take out of the key's bucket; None where it has no limit."""
    return Charge(key.owner, key.readings, readings) if key and key.readings else None


def note_allowance(allowance: Allowance | None) -> None:
    """Has the answer tell how the bucket stands."""
    g.allowance = allowance


def _count_request() -> None:
    key: Key | None = g.key
    if key is None:
        return
    per_second = key.requests_per_second or current_resources().settings.read_requests_per_second
    if per_second and not (request.blueprint == "ingest" and request.method == "POST"):
        note_allowance(current_app.extensions["request_limits"].take(key.owner, per_second))


def _too_many(error: LimitReached) -> Response:
    note_allowance(error.allowance)
    seconds = error.allowance.wait_seconds
    response = error_response(429, f"This key's limit is reached, nothing was taken; try again in {seconds} s")
    response.headers["Retry-After"] = str(seconds)
    return response


def _show_allowance(response: Response) -> Response:
    allowance: Allowance | None = g.get("allowance")
    if allowance and (response.status_code < 400 or response.status_code == 429):
        told = (allowance.limit.burst, allowance.remaining, allowance.full_in_seconds)
        response.headers.extend(zip(HEADERS, map(str, told), strict=True))
    return response
