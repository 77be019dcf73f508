"""Request ids and the log line of a request.

The id is the sender's X-Request-ID if that is plain, else a new one; it is in the answer and in every log line.
"""

import re
import time
import uuid

import structlog
from flask import Flask, Response, g, request
from flask.globals import app_ctx, request_ctx

from models.observability.logs import request_id

_PLAIN = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
MAX_PATH = 200  # characters of the path of a refused request
log = structlog.get_logger()


def init_app(app: Flask) -> None:
    """After webapp.http.metrics, which notes when the request started."""
    app.before_request(_name)
    app.after_request(_return_id)
    app.after_request(_log if app.extensions["resources"].settings.log_requests == "all" else _log_errors)


def _name() -> None:
    g.request_id = name_request(request.headers.get("X-Request-ID", ""))


def name_request(sent: str) -> str:
    """The id of the request that this thread handles from now on; `sent` is its X-Request-ID."""
    name = sent if _PLAIN.match(sent) else uuid.uuid4().hex
    # Each request sets it, so that none logs with the id of the request before it on this thread.
    request_id.set(name)
    return name


def _return_id(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.request_id
    return response


def _log_errors(response: Response) -> Response:
    return _log(response) if response.status_code >= 400 else response


def _log(response: Response) -> Response:
    # The objects behind Flask's proxies: reading each value through a proxy costs more than the line.
    sent, known = request_ctx.request, vars(app_ctx.g)
    accepted = rejected = None
    if decoded := known.get("decoded"):
        is_new = response.status_code < 300 and "replayed" not in known
        accepted, rejected = decoded.accepted if is_new else 0, decoded.rejected
    log_request(
        sent.method,
        sent.url_rule.rule if sent.url_rule else "unmatched",
        response.status_code,
        time.perf_counter() - known["started"],
        known.get("key_id", ""),
        accepted,
        rejected,
        path=sent.path[:MAX_PATH] if response.status_code >= 400 else None,
    )
    return response


def log_request(
    method: str,
    route: str,
    status: int,
    seconds: float,
    key_id: str,
    accepted: int | None,
    rejected: int | None,
    path: str | None = None,
) -> None:
    """Logs a request, without its key, headers, body and query: each may hold a secret."""
    optional = {"key_id": key_id or None, "accepted": accepted, "rejected": rejected, "path": path}
    known = {name: value for name, value in optional.items() if value is not None}
    log.info("request", method=method, route=route, status=status, seconds=round(seconds, 4), **known)
