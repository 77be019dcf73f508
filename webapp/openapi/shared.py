"""What all operations share: the service's description, tags, ways to send a key, headers and errors."""

from typing import Any

from webapp.http.bounds.limits import HEADERS as LIMIT_HEADERS
from webapp.http.operations import Answer

DESCRIPTION = """\
Takes in the readings of smart meters (AC side) and electric vehicles (DC side), stores every one of them, and computes
how efficiently each vehicle charges.

**The answer is a promise:** an accepted reading reaches history, or the dead letters with a reason. The answer is sent
after the reading is on disk, in the append-only file of Redis or in Postgres. Every other answer states whether
anything was accepted.

- A request brings an API key, as `Authorization: Bearer <key>` or as `X-API-Key: <key>`. Each operation names the
  scopes of which it needs one; `admin` has them all. A key may be bound to devices: then it posts and reads for no
  others.
- Times are ISO 8601 with a zone; answers give them in UTC.
- A query parameter that an operation does not have is refused (422).
- Lists come in pages: pass `next` as `cursor` until it is `null`. A cursor is opaque.
- A reading sent twice does no harm: history keeps both submissions, analytics count that device and instant once,
  and the submission accepted last is the one that counts.
- Every answer has `Cache-Control: no-store` and headers that restrict browsers. Pages of another origin may call the
  service only if it is configured for that origin. If it needs no keys, other pages and unknown host names get 403.
- Every answer has an `X-Request-ID`. Every error has the shape `Error`: unknown paths (404) and methods a path
  does not have (405, with `Allow`) as well.
"""

TAGS = {
    "Ingest": "Devices send readings here.",
    "Live state": "The newest reading of each device, and its history.",
    "Mapping": "Which meter feeds which vehicle's charger.",
    "Sessions": "Charging of a vehicle, from a start to an end.",
    "Analytics": "Energy in, energy out, and the battery's temperature.",
    "Tariffs": "The price of a kWh at each site.",
    "Alerts": "What a person should look at.",
    "Service": "The service itself: name, health, metrics, this document.",
}

SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key; its scopes are named as roles."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
}

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_READINGS = ", in readings where readings are sent, else in requests"
HEADERS = {
    "X-Request-ID": {"description": "the request's id, as sent or as made here", "schema": _TEXT},
    "Retry-After": {"description": "seconds to wait before trying again", "schema": {"type": "integer", "minimum": 1}},
    "Idempotent-Replay": {
        "description": "`true` if this is the first answer to that Idempotency-Key once more; else absent",
        "schema": {"type": "string", "const": "true"},
    },
    "Content-Disposition": {"description": "with CSV: the name of the file", "schema": _TEXT},
    "WWW-Authenticate": {"description": "how to send a key", "schema": {"type": "string", "const": "Bearer"}},
    "RateLimit-Limit": {"description": "with a limited key: the size of its allowance" + _READINGS, "schema": _COUNT},
    "RateLimit-Remaining": {"description": "with a limited key: what remains of it" + _READINGS, "schema": _COUNT},
    "RateLimit-Reset": {"description": "with a limited key: seconds until it is full again", "schema": _COUNT},
    "Location": {"description": "where to go", "schema": _TEXT},
}

PARAMETERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        "description": "An id for this request, in the answer and in the log: 1–128 of `A-Z a-z 0-9 . _ : -`. "
        "Left out, or anything else: one is made.",
        "schema": _TEXT,
    },
    "Idempotency-Key": {
        "description": "1–128 characters of ASCII that make a repeat harmless: within {idempotency_ttl_seconds} "
        "seconds the same key with the same body gets the first answer, with its status, and adds nothing; with "
        "another body it is refused (422). Errors that depend on the time may differ. An API key may use "
        "{idempotency_max_keys} new ones at once, and again within that time (429).",
        "schema": {"type": "string", "minLength": 1, "maxLength": 128},
    },
}

# Answers with the shape Error, by status.
ERRORS = {
    400: Answer("The body is not JSON, or its gzip is broken"),
    401: Answer(
        "No valid API key: none was sent, it is unknown, expired or revoked, or two were sent that differ",
        headers=("WWW-Authenticate",),
    ),
    403: Answer(
        "The key lacks the scope, or is bound to other devices; if the service needs no keys: the request is of a "
        "foreign page, or its `Host` is not known. Nothing was accepted"
    ),
    404: Answer("Not found"),
    411: Answer("Chunked NDJSON needs a Content-Length if it must be accepted as a whole"),
    413: Answer(
        "Too large: at most {max_batch_readings} readings in {max_body_bytes} bytes after decompression, or the bytes "
        "that the operation names. Nothing was accepted"
    ),
    415: Answer("A Content-Type or Content-Encoding that is not supported"),
    422: Answer("Understood, and refused; `errors` names fields and reasons. Nothing was accepted"),
    429: Answer("A limit of the key is reached. Nothing was accepted", headers=("Retry-After", *LIMIT_HEADERS)),
    500: Answer("An unexpected error; the request id leads to the log"),
    503: Answer(
        "Too busy, or a server behind this one is unavailable; no reading was accepted", headers=("Retry-After",)
    ),
    504: Answer(
        "The outcome is unknown: the answer of the stream got lost, the readings were accepted once or not at all. "
        "Send them again; with the same Idempotency-Key they are accepted once",
        headers=("Retry-After",),
    ),
}
