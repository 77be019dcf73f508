"""The express way: what nearly every device sends, answered before Flask is asked.

It takes a POST of JSON to an ingest path that has nothing special about it: no Idempotency-Key, no query, no
encoding, no browser, an API key without a limit; and a body in which every reading is plainly good. What it does not
take it hands on with its body as it came, and Flask's view has the word. Contract, keys, counters, log line and
errors are the same on both ways; tests/webapp/test_fast_door.py holds the two together over good and bad requests.

Flask's routing, request and response objects cost a request more than all the rest of it: docs/benchmarks.md.
"""

import time
from collections.abc import Callable, Iterable
from io import BytesIO

from flask import Flask

from models.access.keyring import KeysUnknown
from models.access.keys import INGEST, Key
from models.readings import Entry, encode_entry
from models.settings import Settings
from models.stream.entry_ids import receipt
from webapp.http.auth import sent_key
from webapp.http.metrics import count_accepted, observe_request
from webapp.http.request_log import log_request, name_request
from webapp.ingest.decoding import Bounds, Decoded, TooManyReadings, covers, decode_fast
from webapp.ingest.views import PATHS, TRIED
from workers.doorbell import ring

JSON_TYPES = {"", "application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"}
_NOT_PLAIN = ("HTTP_IDEMPOTENCY_KEY", "HTTP_CONTENT_ENCODING", "HTTP_TRANSFER_ENCODING", "HTTP_ORIGIN")
_WAYS = {path: (kind and kind.name, status) for path, kind, status in PATHS}
_STATUS_LINES = {200: "200 OK", 201: "201 CREATED", 202: "202 ACCEPTED"}
_BODY = b'{"message":"Data ingested successfully","accepted":%d,"rejected":0,"receipt":"%s"}'


def init_app(app: Flask) -> None:
    """Before webapp.http.headers, whose headers are on these answers too."""
    app.wsgi_app = Express(app, app.wsgi_app)


class Express:
    def __init__(self, app: Flask, serve: Callable):
        self._app, self._serve = app, serve

    def __call__(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        way = _WAYS.get(environ["PATH_INFO"])
        if way and _is_plain(environ):
            answer = self._take(environ, *way)
            if answer:
                status, headers, body = answer
                start_response(status, headers)
                return [body]
        return self._serve(environ, start_response)

    def _take(self, environ: dict, kind: str | None, status: int) -> tuple[str, list, bytes] | None:
        """Status, headers and body of the answer; None where that is for Flask to find."""
        arrived = time.perf_counter()
        resources = self._app.extensions["resources"]
        settings = resources.settings
        key = None
        if settings.auth != "off" and not (key := self._key(environ)):
            return None
        decoded = _read(environ, kind, settings)
        if decoded is None or (key and key.binding and not covers(key.binding, decoded)):
            return None
        name = name_request(environ.get("HTTP_X_REQUEST_ID", ""))
        try:
            appended = resources.stream.append(encode_entry(Entry(decoded.meters, decoded.vehicles, name)))
        except Exception as error:  # whatever it is, Flask's view has the answer to it
            environ[TRIED], environ["HTTP_X_REQUEST_ID"] = error, name
            return None
        if appended.was_empty:
            ring(appended.shard)
        count_accepted(len(decoded.meters), len(decoded.vehicles))
        body = _BODY % (decoded.accepted, receipt(appended.shard, appended.entry_id).encode())
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("X-Request-ID", name),
        ]
        if settings.allowed_origins:
            headers.append(("Vary", "Origin"))
        seconds = time.perf_counter() - arrived
        observe_request(environ["PATH_INFO"], "POST", status, seconds)
        if settings.log_requests == "all":
            log_request("POST", environ["PATH_INFO"], status, seconds, key.id if key else "", decoded.accepted, 0)
        return _STATUS_LINES[status], headers, body

    def _key(self, environ: dict) -> Key | None:
        """The key of a request that it may pass with, unless it has a limit: that is counted on the other way."""
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


def _read(environ: dict, kind: str | None, settings: Settings) -> Decoded | None:
    """The readings of the body, None where any is not plainly good. The body stays to be read again."""
    length = int(environ["CONTENT_LENGTH"])
    if length > settings.max_body_bytes:
        return None
    body = environ["wsgi.input"].read(length)
    environ["wsgi.input"] = BytesIO(body)
    if len(body) < length:
        return None
    try:
        decoded = decode_fast(
            body, kind, ndjson=False, bounds=Bounds.now(settings), max_readings=settings.max_batch_readings
        )
    except TooManyReadings:
        return None
    return decoded if decoded and decoded.accepted else None
