"""Copies readings into history, and finds the rows that Postgres refuses."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg

from models.database import is_permanent
from models.readings import KINDS, HistoryRow, Kind
from models.storage.binary_copy import TIME, copy_rows

# Rows in one savepoint: they are copied again if one of them is refused.
ROWS_PER_COPY = 1_000
# If more than this share of a batch is refused, and at least this many rows, the batch is not stored.
REFUSED_SHARE = 0.9
REFUSED_AT_LEAST = 100

_COLUMNS = {
    kind.name: dict(zip(kind.columns, ("text", TIME, TIME, *("float8" for _ in kind.value_columns)), strict=True))
    for kind in KINDS.values()
}
_COPY_LINE = re.compile(r"^COPY \S+, \D*(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Refused:
    """A row that Postgres refused permanently; `index` is its place in the rows given."""

    index: int
    row: HistoryRow
    reason: str
    sqlstate: str


class MostlyRefused(Exception):
    """Nearly all rows were rejected: suspect the schema or a deploy, not the data. Roll back, keep the entries."""


def copy_history(connection: psycopg.Connection, kind: Kind, rows: Sequence[HistoryRow]) -> list[Refused]:
    """Appends the rows to the kind's history, in the caller's transaction; returns those that Postgres refused.

    Raises MostlyRefused, or a psycopg error that is not permanent; the caller rolls back.
    """
    refused: list[Refused] = []
    for start in range(0, len(rows), ROWS_PER_COPY):
        chunk = rows[start : start + ROWS_PER_COPY]
        for refusal in _copy_or_split(connection, kind, chunk, start):
            refused.append(refusal)
            if len(refused) >= REFUSED_AT_LEAST and len(refused) > REFUSED_SHARE * (refusal.index + 1):
                raise MostlyRefused(f"{len(refused)} of {refusal.index + 1} {kind.name} readings: {refusal.reason}")
    return refused


def _copy_or_split(
    connection: psycopg.Connection, kind: Kind, rows: Sequence[HistoryRow], start: int
) -> Iterator[Refused]:
    try:
        with connection.transaction():  # a savepoint
            copy_rows(connection, kind.history, _COLUMNS[kind.name], rows)
        return
    except psycopg.Error as error:
        if not is_permanent(error):
            raise
        if len(rows) == 1:
            yield Refused(start, rows[0], error.diag.message_primary or str(error), error.sqlstate or "")
            return
        suspect = _suspect(error, len(rows))
    for part in (slice(0, suspect), slice(suspect, suspect + 1), slice(suspect + 1, None)):
        if rows[part]:
            yield from _copy_or_split(connection, kind, rows[part], start + part.start)


def _suspect(error: psycopg.Error, rows: int) -> int:
    """The row that the error names, or the middle one. A hint: each part is copied by itself."""
    line = _COPY_LINE.search(error.diag.context or "")
    return min(int(line[1]) - 1, rows - 1) if line else rows // 2
