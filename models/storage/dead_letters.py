"""Dead letters: readings that Postgres refused for good, kept with the reason, and their way back."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from models.stream.entry_ids import EntryId


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


def store_dead_letters(connection: psycopg.Connection, letters: Iterable[DeadLetter]) -> None:
    """Stores the dead letters, in the transaction that moves the position past their entries."""
    connection.cursor().executemany(
        """insert into dead_letters
             (shard, entry_id, kind, "row", entry_readings, reading, payload, reason, sqlstate, request_id, received_at)
           values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        [
            (
                letter.shard,
                str(letter.entry_id),
                letter.kind,
                letter.row,
                letter.entry_readings,
                Jsonb(letter.reading) if letter.reading is not None else None,
                letter.payload,
                letter.reason,
                letter.sqlstate,
                letter.request_id,
                letter.received_at,
            )
            for letter in letters
        ],
    )


def count_for_entry(connection: psycopg.Connection, shard: int, entry_id: EntryId) -> tuple[int, int]:
    """Dead letters of one entry that were not replayed, and the readings that the entry held."""
    return connection.execute(
        """select count(*), coalesce(max(entry_readings), 0) from dead_letters
           where shard = %s and entry_id = %s and replayed_at is null""",
        [shard, str(entry_id)],
    ).fetchone()


def list_dead_letters(connection: psycopg.Connection, *, limit: int, include_replayed: bool = False) -> list[dict]:
    """The newest dead letters first, by primary key."""
    where = "" if include_replayed else "where replayed_at is null"
    return (
        connection.cursor(row_factory=dict_row)
        .execute(f"select * from dead_letters {where} order by id desc limit %s", [limit])
        .fetchall()
    )


def get_dead_letter(connection: psycopg.Connection, letter_id: int) -> dict | None:
    return (
        connection.cursor(row_factory=dict_row)
        .execute("select * from dead_letters where id = %s", [letter_id])
        .fetchone()
    )
