"""Dead letters back into history and live, each exactly once.

A batch is one transaction: its letters are locked, their readings stored and the letters marked. A second replay
passes over locked and marked letters; one that dies leaves both history and letters as they were.
"""

from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import dict_row

from models.readings import METER, VEHICLE, HistoryRow, Kind, to_microseconds
from models.storage.batch import Batch
from models.storage.history import REFUSED_AT_LEAST, MostlyRefused, copy_history
from models.storage.live import upsert_live
from models.storage.stale_marks import mark_late_readings
from models.storage.writer import store_batch
from models.stream.entry_ids import parse_entry_id
from models.stream.keys import FIELD
from models.stream.telemetry import StreamEntry

LETTERS_PER_BATCH = 1_000
# Most of what was refused once may well be refused again, and that is no fault of ours: so few rows at a time
# that the writer never takes it for one.
_ROWS_PER_COPY = REFUSED_AT_LEAST - 1


@dataclass(frozen=True)
class Replayed:
    """What became of one batch, in letters. `last_id` is where the next one goes on."""

    replayed: int
    refused: int
    last_id: int


def count_replayable(connection: psycopg.Connection, ids: list[int] | None = None) -> int:
    """How many of these letters, or of all, were not brought back yet."""
    return connection.execute(
        """select count(*) from dead_letters
           where replayed_at is null and (%(ids)s::int8[] is null or id = any(%(ids)s))""",
        {"ids": ids},
    ).fetchone()[0]


def replay_batch(
    connection: psycopg.Connection,
    shards: int,
    *,
    ids: list[int] | None = None,
    after: int = 0,
    limit: int = LETTERS_PER_BATCH,
) -> Replayed | None:
    """Brings back up to `limit` letters with an id above `after`: those of `ids`, or all. None: there are none left.

    `received_at` stays what it was. What is refused again stays a letter, with the reason of this time.
    Raises psycopg errors that are no fault of a reading; then nothing of the batch is stored or marked.
    """
    with connection.transaction():
        letters = _lock(connection, ids, after, limit)
        if not letters:
            return None
        refused: dict[int, tuple[str, str | None]] = {}
        for kind in (METER, VEHICLE):
            refused |= _store_readings(connection, kind, [each for each in letters if each["kind"] == kind.name])
        for letter in letters:
            if letter["kind"] == "entry" and (why := _store_entry(connection, shards, letter)):
                refused[letter["id"]] = (why, None)
        _mark(connection, [each["id"] for each in letters if each["id"] not in refused], refused)
    return Replayed(len(letters) - len(refused), len(refused), letters[-1]["id"])


def _lock(connection: psycopg.Connection, ids: list[int] | None, after: int, limit: int) -> list[dict]:
    """By primary key."""
    return (
        connection.cursor(row_factory=dict_row)
        .execute(
            """select id, shard, entry_id, kind, reading, payload, received_at from dead_letters
               where replayed_at is null and id > %(after)s and (%(ids)s::int8[] is null or id = any(%(ids)s))
               order by id limit %(limit)s for update skip locked""",
            {"ids": ids, "after": after, "limit": limit},
        )
        .fetchall()
    )


def _store_readings(connection: psycopg.Connection, kind: Kind, letters: list[dict]) -> dict[int, tuple]:
    """Returns the letters whose readings were refused again, with message and SQLSTATE."""
    refused, kept = {}, []
    for start in range(0, len(letters), _ROWS_PER_COPY):
        chunk = letters[start : start + _ROWS_PER_COPY]
        rows = [_row(kind, letter) for letter in chunk]
        again = {refusal.index: refusal for refusal in copy_history(connection, kind, rows)}
        refused |= {chunk[index]["id"]: (refusal.reason, refusal.sqlstate) for index, refusal in again.items()}
        kept += [row for index, row in enumerate(rows) if index not in again]
    mark_late_readings(connection, [(kind, kept)])
    upsert_live(connection, kind, kept)
    return refused


def _row(kind: Kind, letter: dict) -> HistoryRow:
    device, timestamp, *values = (letter["reading"][field] for field in kind.fields)
    recorded = to_microseconds(datetime.fromisoformat(timestamp))
    return (device, recorded, to_microseconds(letter["received_at"]), *values)


def _store_entry(connection: psycopg.Connection, shards: int, letter: dict) -> str | None:
    """Tries to read the entry once more; returns why it stays. Readings of it that are refused become letters."""
    entry = StreamEntry(parse_entry_id(letter["entry_id"]), {FIELD: letter["payload"]})
    batch = Batch(letter["shard"], shards, [entry])
    if batch.unreadable:
        return batch.unreadable[0].reason
    try:
        with connection.transaction():
            store_batch(connection, batch)
    except MostlyRefused as error:
        return str(error)
    return None


def _mark(connection: psycopg.Connection, replayed: list[int], refused: dict[int, tuple]) -> None:
    connection.execute("update dead_letters set replayed_at = now() where id = any(%s)", [replayed])
    connection.cursor().executemany(
        "update dead_letters set reason = %s, sqlstate = coalesce(%s, sqlstate) where id = %s",
        [(reason, sqlstate, letter_id) for letter_id, (reason, sqlstate) in refused.items()],
    )
