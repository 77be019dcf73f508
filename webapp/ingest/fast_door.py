"""The fast door of ingest: answers what nearly every device sends before Flask sees it.

It takes a POST of JSON to an ingest path with an API key without a limit, without an Idempotency-Key, query, encoding
or Origin, and with valid readings only. Everything else goes on to Flask's view with its body unread.
tests/webapp/test_fast_door.py holds the two doors together: the same answers, counters and log lines.

Flask's routing, request and response objects cost more than the rest of a request: docs/benchmarks.md.
"""

import time
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import NamedTuple

import msgspec
from flask import Flask

from models.access.keyring import KeysUnknown
from models.access.keys import INGEST, Key
from models.readings import Entry
from models.settings import Settings
from webapp.http.auth import sent_key
from webapp.http.bounds.places import NoPlace, sender_of
from webapp.http.bounds.receiving import LARGE_BYTES, receive
from webapp.http.foreign_pages import find_refusal
from webapp.http.metrics import observe_request
from webapp.http.request_log import log_request, name_request
from webapp.ingest.acceptance import accept
from webapp.ingest.counters import count_with_ignored
from webapp.ingest.device_bounds import are_known
from webapp.ingest.fast_decoding import Bounds, Decoded, TooManyReadings, covers, decode_fast
from webapp.ingest.views import FAST_DOOR_REFUSAL, PATHS, Path

JSON_TYPES = {"", "application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"}
_NOT_PLAIN = ("HTTP_IDEMPOTENCY_KEY", "HTTP_CONTENT_ENCODING", "HTTP_TRANSFER_ENCODING", "HTTP_ORIGIN")
_PATHS = {path.rule: path for path in PATHS}
_STATUS_LINES = {200: "200 OK", 201: "201 CREATED", 202: "202 ACCEPTED"}
_BODY = b'{"message":"Data ingested successfully","accepted":%d,"rejected":0,"receipt":"%s"}'


class _Answer(NamedTuple):
    status: str
    headers: list[tuple[str, str]]
    body: bytes


def init_app(app: Flask) -> None:
    """Before webapp.http.headers, which adds its headers to these answers too."""
    app.wsgi_app = FastDoor(app, app.wsgi_app)  # type: ignore[method-assign]  # as Flask documents it


class FastDoor:
    def __init__(self, app: Flask, serve: Callable):
        self._app, self._serve = app, serve

    def __call__(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        path = _PATHS.get(environ["PATH_INFO"])
        if path and _is_plain(environ) and (answer := self._answer(environ, path)):
            start_response(answer.status, answer.headers)
            return [answer.body]
        return self._serve(environ, start_response)

    def _answer(self, environ: dict, path: Path) -> _Answer | None:
        """None for a request that Flask's view must answer."""
        arrived = time.perf_counter()
        resources = self._app.extensions["resources"]
        settings = resources.settings
        key = None
        if settings.auth != "off" and not (key := self._key(environ)):
            return None
        if find_refusal(environ, settings):
            return None
        try:
            decoded = self._read(environ, path, key)
        except NoPlace as error:  # Flask's error handler has the answer to it
            environ[FAST_DOOR_REFUSAL] = None, error
            return None
        if decoded is None or (key and not self._may_post(key, decoded, settings)):
            return None
        request_id = name_request(environ.get("HTTP_X_REQUEST_ID", ""))
        try:
            accepted = accept(resources, Entry(decoded.meters, decoded.vehicles, request_id), key)
        except Exception as error:  # Flask's error handlers have the answer to it
            environ[FAST_DOOR_REFUSAL] = decoded, error
            environ["HTTP_X_REQUEST_ID"] = request_id
            return None
        body = _BODY % (decoded.accepted, accepted.receipt.encode())
        if decoded.ignored:
            count_with_ignored(decoded.with_ignored)
            body = b'%s,"ignored":%s}' % (body[:-1], msgspec.json.encode(decoded.ignored))
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("X-Request-ID", request_id),
        ]
        if settings.allowed_origins:
            headers.append(("Vary", "Origin"))
        seconds = time.perf_counter() - arrived
        observe_request(path.rule, "POST", path.status, seconds)
        if settings.log_requests == "all":
            log_request("POST", path.rule, path.status, seconds, key.id if key else "", decoded.accepted, 0)
        return _Answer(_STATUS_LINES[path.status], headers, body)

    def _may_post(self, key: Key, decoded: Decoded, settings: Settings) -> bool:
        return (not key.binding or covers(key.binding, decoded)) and are_known(self._app, settings, key, decoded)

    def _read(self, environ: dict, path: Path, key: Key | None) -> Decoded | None:
        """The readings of the body, None unless all are valid. The body can be read again. Raises NoPlace."""
        settings = self._app.extensions["resources"].settings
        length = int(environ["CONTENT_LENGTH"])
        if length > LARGE_BYTES:
            return None
        sender = sender_of(key, environ.get("REMOTE_ADDR"))
        body = receive(self._app.extensions["bodies"], environ["wsgi.input"], length, sender)
        environ["wsgi.input"] = BytesIO(body)
        if len(body) < length:
            return None
        try:
            decoded = decode_fast(
                body, path.kind, ndjson=False, bounds=Bounds.now(settings), max_readings=settings.max_batch_readings
            )
        except TooManyReadings:
            return None
        return decoded if decoded and decoded.accepted else None

    def _key(self, environ: dict) -> Key | None:
        """The sender's key, if it may ingest and has no limit: Flask's view shows limits in headers."""
        text = sent_key(environ)
        try:
            key = self._app.extensions["keyring"].find(text) if text else None
        except KeysUnknown:
            return None
        return key if key and key.allows((INGEST,)) and not key.readings else None


def _is_plain(environ: dict) -> bool:
    return (
        environ["REQUEST_METHOD"] == "POST"
        and not environ["QUERY_STRING"]
        and environ.get("CONTENT_TYPE", "") in JSON_TYPES
        and environ.get("CONTENT_LENGTH", "").isdecimal()
        and not any(name in environ for name in _NOT_PLAIN)
    )
