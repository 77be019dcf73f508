"""Every request has an id: the sender's X-Request-ID, or one made here. It is in each answer and log line."""

import re
import time
import uuid

import structlog
from flask import Flask, Response, g, request

_PLAIN = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
log = structlog.get_logger()


def init_app(app: Flask) -> None:
    app.before_request(_name)
    app.after_request(_log)


def _name() -> None:
    sent = request.headers.get("X-Request-ID", "")
    g.request_id = sent if _PLAIN.match(sent) else uuid.uuid4().hex


def _log(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.request_id
    log.debug(
        "request",
        request_id=g.request_id,
        method=request.method,
        path=request.path,
        status=response.status_code,
        seconds=round(time.perf_counter() - g.started, 4),
    )
    return response
