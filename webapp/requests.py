"""Every request has an id: the sender's X-Request-ID, or one made here. It is in each answer and log line."""

import re
import time
import uuid

import structlog
from flask import Flask, Response, g, request

from models.logs import request_id

_PLAIN = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
MAX_PATH = 200  # characters of a refused request's path in the log
log = structlog.get_logger()


def init_app(app: Flask) -> None:
    app.before_request(_name)
    app.after_request(_return_id)
    if app.extensions["connections"].settings.log_requests == "all":
        app.after_request(_log)
    else:
        app.after_request(_log_errors)


def _name() -> None:
    g.arrived = time.perf_counter()
    sent = request.headers.get("X-Request-ID", "")
    g.request_id = sent if _PLAIN.match(sent) else uuid.uuid4().hex
    # Set anew by each request, so that none logs under the id of the one that its thread served before.
    request_id.set(g.request_id)


def _return_id(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.request_id
    return response


def _log_errors(response: Response) -> Response:
    return _log(response) if response.status_code >= 400 else response


def _log(response: Response) -> Response:
    """One line a request. It has no key, no header, no body and no query: each may hold a secret."""
    # The objects behind Flask's proxies, which would cost more than the line.
    asked, known = request._get_current_object(), vars(g._get_current_object())
    line = {
        "method": asked.method,
        "route": asked.url_rule.rule if asked.url_rule else "unmatched",
        "status": response.status_code,
        "seconds": round(time.perf_counter() - known["arrived"], 4),
    }
    if key_id := known.get("key_id"):
        line["key_id"] = key_id
    if decoded := known.get("decoded"):
        is_new = response.status_code < 300 and "replayed" not in known
        line["accepted"] = decoded.accepted if is_new else 0
        line["rejected"] = decoded.rejected
    if response.status_code >= 400:
        line["path"] = asked.path[:MAX_PATH]
    log.info("request", **line)
    return response
