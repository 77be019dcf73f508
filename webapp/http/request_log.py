"""Every request has an id: the sender's X-Request-ID, or one made here. It is in each answer and log line."""

import re
import time
import uuid

import structlog
from flask import Flask, Response, g, request

from models.observability.logs import request_id

_PLAIN = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
MAX_PATH = 200  # characters of a refused request's path in the log
log = structlog.get_logger()


def init_app(app: Flask) -> None:
    app.before_request(_name)
    app.after_request(_return_id)
    if app.extensions["resources"].settings.log_requests == "all":
        app.after_request(_log)
    else:
        app.after_request(_log_errors)


def _name() -> None:
    g.arrived = time.perf_counter()
    g.request_id = name_request(request.headers.get("X-Request-ID", ""))


def name_request(sent: str) -> str:
    """The id of the request that this thread answers from now on: the sender's own, where that is a plain one."""
    name = sent if _PLAIN.match(sent) else uuid.uuid4().hex
    # Set anew by each request, so that none logs under the id of the one that its thread served before.
    request_id.set(name)
    return name


def _return_id(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.request_id
    return response


def _log_errors(response: Response) -> Response:
    return _log(response) if response.status_code >= 400 else response


def _log(response: Response) -> Response:
    # The objects behind Flask's proxies, which would cost more than the line.
    asked, known = request._get_current_object(), vars(g._get_current_object())
    accepted = rejected = None
    if decoded := known.get("decoded"):
        is_new = response.status_code < 300 and "replayed" not in known
        accepted, rejected = decoded.accepted if is_new else 0, decoded.rejected
    log_request(
        asked.method,
        asked.url_rule.rule if asked.url_rule else "unmatched",
        response.status_code,
        time.perf_counter() - known["arrived"],
        known.get("key_id", ""),
        accepted,
        rejected,
        path=asked.path[:MAX_PATH] if response.status_code >= 400 else None,
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
    """One line a request. It has no key, no header, no body and no query: each may hold a secret."""
    line = {"method": method, "route": route, "status": status, "seconds": round(seconds, 4)}
    if key_id:
        line["key_id"] = key_id
    if accepted is not None:
        line["accepted"], line["rejected"] = accepted, rejected
    if path is not None:
        line["path"] = path
    log.info("request", **line)
