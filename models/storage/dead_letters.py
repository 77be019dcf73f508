"""Dead letters: readings that Postgres refused permanently, kept with the reason."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import psycopg
from psycopg.rows import args_row
from psycopg.types.json import Jsonb
from sqlalchemy import bindparam, func, insert, select

from models.schema.stream import dead_letters
from models.sql import one
from models.statements import Statement, rows_of, run, run_many
from models.stream.entry_ids import EntryId

_COLUMNS = dead_letters.c


@dataclass(frozen=True)
class DeadLetter:
    """`kind` is meter or vehicle, with the reading; or entry, with the payload that could not be read."""

    shard: int
    entry_id: EntryId
    kind: str
    reason: str
    received_at: datetime
    entry_readings: int
    row: int | None = None
    reading: dict[str, Any] | None = None
    payload: bytes | None = None
    sqlstate: str | None = None
    request_id: str = ""


class StoredDeadLetter(msgspec.Struct, frozen=True):
    """A row of the table."""

    id: int
    shard: int
    entry_id: str
    kind: str
    row: int | None
    entry_readings: int
    reading: dict[str, Any] | None
    payload: bytes | None
    reason: str
    sqlstate: str | None
    request_id: str
    received_at: datetime
    dead_lettered_at: datetime
    replayed_at: datetime | None


class EntryLetters(NamedTuple):
    dead_letters: int
    entry_readings: int


STORED_ROW = rows_of(StoredDeadLetter, _COLUMNS)
_VALUES = tuple(DeadLetter.__dataclass_fields__)
_STORE = Statement(insert(dead_letters).values({name: bindparam(name) for name in _VALUES}))
# By dead_letters_receipt.
_COUNT_FOR_ENTRY = Statement(
    select(func.count(), func.coalesce(func.max(_COLUMNS.entry_readings), 0)).where(
        _COLUMNS.shard == bindparam("shard"),
        _COLUMNS.entry_id == bindparam("entry_id"),
        _COLUMNS.replayed_at.is_(None),
    )
)
_NEWEST = select(dead_letters).order_by(_COLUMNS.id.desc()).limit(bindparam("limit"))
_LIST_ALL, _LIST_WAITING = Statement(_NEWEST), Statement(_NEWEST.where(_COLUMNS.replayed_at.is_(None)))
_GET = Statement(select(dead_letters).where(_COLUMNS.id == bindparam("id")))


def store_dead_letters(connection: psycopg.Connection, letters: Iterable[DeadLetter]) -> None:
    """Stores the dead letters, in the transaction that moves the position past their entries."""
    run_many(connection, _STORE, map(_row, letters))


def _row(letter: DeadLetter) -> dict[str, Any]:
    row = {name: getattr(letter, name) for name in _VALUES}
    return row | {
        "entry_id": str(letter.entry_id),
        "reading": None if letter.reading is None else Jsonb(letter.reading),
    }


def count_for_entry(connection: psycopg.Connection, shard: int, entry_id: EntryId) -> EntryLetters:
    """The dead letters of one entry that were not replayed, and the readings that the entry held."""
    values = {"shard": shard, "entry_id": str(entry_id)}
    return one(run(connection, _COUNT_FOR_ENTRY, values, row=args_row(EntryLetters)))


def list_dead_letters(
    connection: psycopg.Connection, *, limit: int, include_replayed: bool = False
) -> list[StoredDeadLetter]:
    """The newest dead letters first, by primary key."""
    statement = _LIST_ALL if include_replayed else _LIST_WAITING
    return run(connection, statement, {"limit": limit}, row=STORED_ROW).fetchall()


def get_dead_letter(connection: psycopg.Connection, letter_id: int) -> StoredDeadLetter | None:
    return run(connection, _GET, {"id": letter_id}, row=STORED_ROW).fetchone()
