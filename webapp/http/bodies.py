"""Reads the body of a request: all of it, up to a bound."""

import json
import threading
import zlib
from typing import Any

from flask import Request

from webapp.http.bounds.receiving import LARGE_BYTES, hold_large, read_piece
from webapp.http.errors import ApiError

JSON_TYPES = ("application/json", "")  # the first device clients send no Content-Type
NDJSON_TYPES = ("application/x-ndjson", "application/ndjson")
_CHUNK_BYTES = 64 * 1024
# Each member costs a copy of the rest of the body. A sender that compresses in pieces makes a few.
MAX_GZIP_MEMBERS = 100
# Threads that inflate at a time: the others, and those of other requests, have their share of the processor.
_INFLATING = threading.BoundedSemaphore(2)


class Malformed(Exception):
    """A body is not JSON. The message names the place."""


def is_ndjson(request: Request) -> bool:
    """Whether the body is NDJSON rather than JSON. Raises ApiError 415 if it is neither."""
    if request.mimetype in NDJSON_TYPES:
        return True
    if request.mimetype in JSON_TYPES or request.mimetype.endswith("+json"):
        return False
    raise ApiError(415, f"Send application/json or application/x-ndjson, not {request.mimetype}")


def read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body, decompressed. Raises ApiError: 413 above `max_bytes`, 415 or 400 if it can't be read."""
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise ApiError(415, f"Content-Encoding {encoding!r} is not supported; send gzip or none")
    length = request.content_length
    if (length or 0) > max_bytes:
        raise _too_large(max_bytes)
    if (length or 0) > LARGE_BYTES:
        hold_large()
    # Read from the server itself: Werkzeug cuts a chunked body at the bound, as if it were complete.
    raw = _read_chunks(max_bytes) if length is None else read_piece(length)
    if length is not None and len(raw) < length:
        raise ApiError(400, f"The body ends after {len(raw)} of {length} bytes")
    if "gzip" not in encoding:
        return raw
    hold_large()
    with _INFLATING:
        return _inflate(raw, max_bytes)


def read_json(request: Request, max_bytes: int) -> Any:
    """The body's JSON. Raises ApiError."""
    if is_ndjson(request):
        raise ApiError(415, "Send application/json here")
    try:
        return parse_json(read_body(request, max_bytes))
    except Malformed as error:
        raise ApiError(400, f"The body is {error}") from None


def _read_chunks(max_bytes: int) -> bytes:
    parts, size = [], 0
    while part := read_piece(_CHUNK_BYTES):
        parts.append(part)
        size += len(part)
        if size > max_bytes:
            raise _too_large(max_bytes)
        if size > LARGE_BYTES:
            hold_large()
    return b"".join(parts)


def _inflate(data: bytes, max_bytes: int) -> bytes:
    """All members of a gzip body, decompressed up to the bound."""
    parts, size, members = [], 0, 0
    try:
        while data:
            members += 1
            if members > MAX_GZIP_MEMBERS:
                raise ApiError(400, f"A gzip body may have at most {MAX_GZIP_MEMBERS} members")
            member = zlib.decompressobj(wbits=31)
            parts.append(member.decompress(data, max_bytes + 1 - size))
            size += len(parts[-1])
            if size > max_bytes:
                raise _too_large(max_bytes)
            if not member.eof:
                raise ApiError(400, "The gzip body is truncated")
            data = member.unused_data
    except zlib.error as error:
        raise ApiError(400, f"The body is not gzip: {error}") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(max_bytes: int) -> ApiError:
    return ApiError(413, f"A body may hold at most {max_bytes} bytes, after decompression")


def parse_json(body: bytes) -> Any:
    """The value of a JSON body, NaN and infinities included: their fields are refused, not the whole body."""
    try:
        return json.loads(body.decode("utf-8-sig"), parse_int=_parse_int)
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise Malformed("nested too deeply") from None
    except ValueError as error:
        raise Malformed(f"not JSON: {error}") from None


def _parse_int(digits: str) -> int | float:
    return int(digits) if len(digits) < 20 else float(digits)
