"""Headers, and the answers that many operations share: what went wrong."""

from models.settings import Settings
from webapp.devices.mapping import MAX_BODY_BYTES as MAX_MAPPING_BYTES
from webapp.http.limits import HEADERS as LIMIT_HEADERS
from webapp.openapi.components import COUNT, TEXT, schema

_READINGS = ", in readings where readings are sent, else in requests"
HEADERS = {
    "X-Request-ID": {"description": "the request's id, as sent or as made here", "schema": TEXT},
    "Retry-After": {"description": "seconds to wait before trying again", "schema": {"type": "integer", "minimum": 1}},
    "Idempotent-Replay": {
        "description": "there, and `true`, where this is the first answer to that Idempotency-Key once more",
        "schema": {"type": "string", "const": "true"},
    },
    "Content-Disposition": {"description": "with CSV: the name of the file", "schema": TEXT},
    "WWW-Authenticate": {"description": "how to prove who asks", "schema": {"type": "string", "const": "Bearer"}},
    "RateLimit-Limit": {"description": "with a limited key: what its bucket holds" + _READINGS, "schema": COUNT},
    "RateLimit-Remaining": {"description": "with a limited key: what is in the bucket" + _READINGS, "schema": COUNT},
    "RateLimit-Reset": {"description": "with a limited key: seconds until the bucket is full", "schema": COUNT},
    "Location": {"description": "where to go", "schema": TEXT},
}


def parameters(settings: Settings) -> dict[str, dict]:
    hours = f"{settings.idempotency_ttl_seconds / 3600:g}"
    return {
        "X-Request-ID": {
            "in": "header",
            "name": "X-Request-ID",
            "description": "An id for this request, in the answer and in the log: 1–128 of `A-Z a-z 0-9 . _ : -`. "
            "Left out, or anything else: one is made.",
            "schema": TEXT,
        },
        "Idempotency-Key": {
            "in": "header",
            "name": "Idempotency-Key",
            "description": f"1–128 characters of ASCII that make a repeat harmless: within {hours} hours the same key "
            "with the same body gets the first answer, with its status, and adds nothing; with another body it is "
            "refused (422).",
            "schema": {"type": "string", "minLength": 1, "maxLength": 128},
        },
    }


def answer(description: str, content: dict | None = None, headers: tuple[str, ...] = (), **more) -> dict:
    """A response; `content` is a JSON schema, or media types with theirs."""
    if content is not None and not all("/" in name for name in content):
        content = {"application/json": {"schema": content}}
    named = {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", *headers)}
    return {"description": description, "headers": named, **({"content": content} if content else {}), **more}


def errors(settings: Settings) -> dict[str, dict]:
    """By the names that the operations refer to: the status."""
    retry = ("Retry-After",)
    return {
        "400": answer("The body is not JSON, or not the gzip it is said to be", schema("Error")),
        "401": answer(
            "No valid API key: none was sent, it is unknown, expired or revoked, or two were sent that differ",
            schema("Error"),
            ("WWW-Authenticate",),
        ),
        "403": answer("The key lacks the scope, or is bound to other devices. Nothing was taken", schema("Error")),
        "404": answer("There is no such thing", schema("Error")),
        "411": answer("Chunked NDJSON that must be taken whole needs a Content-Length", schema("Error")),
        "413": answer(
            f"Too large: at most {settings.max_batch_readings} readings in {settings.max_body_bytes} bytes after "
            f"decompression, for a mapping {MAX_MAPPING_BYTES} bytes. Nothing was taken",
            schema("Error"),
        ),
        "415": answer("A Content-Type or Content-Encoding that is not read here", schema("Error")),
        "422": answer("Understood, and refused; `errors` says where and why. Nothing was taken", schema("Error")),
        "429": answer("The key's limit is reached. Nothing was taken", schema("Error"), (*retry, *LIMIT_HEADERS)),
        "500": answer("Our fault; the request id leads to the log", schema("Error")),
        "503": answer(
            "Too busy, or a server behind this one is away; of readings, none was taken", schema("Error"), retry
        ),
        "504": answer(
            "The outcome is not known: the answer of the stream got lost, the readings were taken once or not at "
            "all. Send them again; with the same Idempotency-Key they are taken once",
            schema("Error"),
            retry,
        ),
    }
