"""Bodies into rows, and rows into values, in memory that is in proportion to the body, whatever it holds."""

import math
import re
from codecs import getincrementaldecoder
from typing import Any

import msgspec
from marshmallow import ValidationError

from webapp.http.bodies import Malformed, parse_json
from webapp.ingest.fast_decoding import SCHEMAS, TooManyReadings, count_objects, is_array

# Of an array with more values than this, in all rows together, every row must be an object.
MAX_VALUES = 500_000
# What senders write although JSON has no such thing: a number beyond all bounds, or a replacement character, stands
# for it, so that its field is refused and not the whole body.
_NOT_FINITE = re.compile(rb"(?<=[\[,:\s])(-?)(?:NaN|Infinity)(?=[\s,\]}])")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
MAX_REPLACED = 50_000
_PIECE_BYTES = 64 * 1024
MAX_VALUE_BYTES = 4096
_LONG_TEXT = "x" * MAX_VALUE_BYTES
_BOM = b"\xef\xbb\xbf"

_Row: Any = msgspec.defstruct(
    "_Row",
    [
        (name, msgspec.Raw, msgspec.Raw())
        for name in sorted({name for each in SCHEMAS.values() for name in each.fields})
    ],
    gc=False,
)
_split_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_split_row = msgspec.json.Decoder(_Row).decode


def split_lines(body: bytes, max_readings: int) -> tuple[list[bytes], bool]:
    """The lines of NDJSON that are not blank; False: they are several. Raises TooManyReadings."""
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) > max_readings:
        raise TooManyReadings(len(lines))
    return lines, False


def split_json(body: bytes, max_readings: int) -> tuple[list[Any], bool]:
    """The rows, each as JSON, and whether there is one without an array. Raises Malformed or TooManyReadings."""
    body = _require_utf8(body)
    if not is_array(body):
        return [body], True
    rows = _decode(_split_rows, body)
    if len(rows) > max_readings:
        raise TooManyReadings(len(rows))
    return rows, False


def _split_rows(body: bytes) -> list[msgspec.Raw]:
    # Each Raw takes about 70 bytes, and a value of one digit could be a row.
    values = body.count(b",") + 1
    if values > MAX_VALUES:
        try:
            count_objects(body)
        except msgspec.ValidationError:
            raise TooManyReadings(f"{values} values, which are not all in readings") from None
    return _split_array(body)


def split_row(row: bytes) -> dict[str, Any]:
    """The values of a reading's fields, without other fields.

    For a value that is refused whatever it holds, a small one of its type stands: for arrays, objects and what is long.
    Raises Malformed, or ValidationError if the row is no object.
    """
    try:
        found = _decode(_split_row, _require_utf8(row))
    except msgspec.ValidationError:
        raise ValidationError("A reading must be a JSON object.") from None
    sent = ((name, bytes(getattr(found, name))) for name in _Row.__struct_fields__)
    return {name: _value(value) for name, value in sent if value}


def _value(json: bytes) -> Any:
    first = json[:1]
    if first == b"{":
        return {}
    if first == b"[":
        return []
    if len(json) > MAX_VALUE_BYTES:
        return _LONG_TEXT if first == b'"' else math.inf
    return parse_json(json)


def _decode(decode: Any, body: bytes) -> Any:
    """Raises Malformed, or ValidationError of msgspec if the types are wrong."""
    try:
        try:
            return decode(body)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            replaced = _SURROGATE.sub(rb"\\ufffd", _NOT_FINITE.sub(rb"\g<1>1e999", body, MAX_REPLACED), MAX_REPLACED)
            if replaced == body:
                raise
            return decode(replaced)
    except RecursionError:
        raise Malformed("nested too deeply") from None
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        raise Malformed(f"not JSON: {str(error).removeprefix('JSON is malformed: ')}") from None


def _require_utf8(body: bytes) -> bytes:
    """The body without a byte order mark. Raises Malformed."""
    if not body.isascii():
        # In pieces: as one text, a body with one wide character takes four times its size.
        decoder = getincrementaldecoder("utf-8")()
        for start in range(0, len(body), _PIECE_BYTES):
            before = len(decoder.getstate()[0])
            try:
                decoder.decode(body[start : start + _PIECE_BYTES], final=start + _PIECE_BYTES >= len(body))
            except UnicodeDecodeError as error:
                place = start - before + error.start
                raise Malformed(f"not UTF-8: {error.reason} at byte {place}") from None
    return body.removeprefix(_BOM)
