"""Answers as CSV, for a request that accepts it: a line for each object, its fields in the columns."""

import csv
import io
from collections.abc import Iterable

import msgspec
from flask import Response, request

from webapp.http.answers import JsonObject

CSV = "text/csv"


def wants_csv() -> bool:
    """Whether the request prefers CSV to JSON."""
    return request.accept_mimetypes.best_match(["application/json", CSV]) == CSV


def csv_media(kind: type[JsonObject]) -> dict[str, dict[str, str]]:
    """The media type of such an answer, for its declaration."""
    return {CSV: {"type": "string", "description": f"first the header: `{','.join(_columns(kind))}`"}}


def csv_header(kind: type[JsonObject]) -> str:
    return _lines([_columns(kind)])


def csv_lines(objects: Iterable[JsonObject]) -> str:
    return _lines(msgspec.to_builtins(each).values() for each in objects)


def csv_response(name: str, lines: Iterable[str]) -> Response:
    """A file of this name; characters that file systems refuse are replaced."""
    disposition = f'attachment; filename="{name.replace(":", "_")}"'
    return Response(lines, mimetype=CSV, headers={"Content-Disposition": disposition})


def _columns(kind: type[JsonObject]) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(kind)]


def _lines(rows: Iterable[Iterable[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()
