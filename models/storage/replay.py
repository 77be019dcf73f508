"""Replays dead letters: brings their readings back into history and live, each exactly once.

A batch is one transaction: its letters are locked, their readings stored and the letters marked. A second replay
skips locked and marked letters; one that ends before its commit has changed neither history nor letters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import psycopg
from psycopg.rows import scalar_row
from sqlalchemy import ARRAY, BigInteger, any_, bindparam, func, select, update

from models.readings import METER, VEHICLE, HistoryRow, Kind, to_microseconds
from models.schema.stream import dead_letters
from models.sql import one
from models.statements import Statement, run, run_many
from models.storage.batch import Batch
from models.storage.dead_letters import STORED_ROW, StoredDeadLetter
from models.storage.history import REFUSED_AT_LEAST, MostlyRefused, copy_history
from models.storage.live import upsert_live
from models.storage.stale_marks import mark_late_readings
from models.storage.writer import store_batch
from models.stream.entry_ids import parse_entry_id
from models.stream.keys import FIELD
from models.stream.telemetry import StreamEntry

LETTERS_PER_BATCH = 1_000
# Most readings that were refused once may be refused again. Fewer than copy_history needs to raise MostlyRefused.
_ROWS_PER_COPY = REFUSED_AT_LEAST - 1

_COLUMNS = dead_letters.c
_WAITING = _COLUMNS.replayed_at.is_(None)
_WITH_IDS = _COLUMNS.id == any_(bindparam("ids", type_=ARRAY(BigInteger)))
_COUNT = Statement(select(func.count()).select_from(dead_letters).where(_WAITING), optional=(_WITH_IDS,))
_LOCK = Statement(
    select(dead_letters)
    .where(_WAITING, _COLUMNS.id > bindparam("after"))
    .order_by(_COLUMNS.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True),
    optional=(_WITH_IDS,),
)
_MARK_REPLAYED = Statement(update(dead_letters).where(_WITH_IDS).values(replayed_at=func.now()))
_NOTE_REFUSAL = Statement(
    update(dead_letters)
    .where(_COLUMNS.id == bindparam("letter_id"))
    .values(reason=bindparam("why"), sqlstate=func.coalesce(bindparam("state"), _COLUMNS.sqlstate))
)


@dataclass(frozen=True)
class Replayed:
    """The outcome of one batch, in letters. The next batch continues after `last_id`."""

    replayed: int
    refused: int
    last_id: int


class _Refusal(NamedTuple):
    reason: str
    sqlstate: str | None = None


def count_replayable(connection: psycopg.Connection, ids: list[int] | None = None) -> int:
    """How many of these letters, or of all, are not replayed yet."""
    return one(run(connection, _COUNT, {"ids": ids}, row=scalar_row))


def replay_batch(
    connection: psycopg.Connection,
    *,
    ids: list[int] | None = None,
    after: int = 0,
    limit: int = LETTERS_PER_BATCH,
) -> Replayed | None:
    """Replays up to `limit` letters with an id above `after`: those of `ids`, or all. None: there are none left.

    `received_at` stays. A reading that is refused again stays a dead letter, with the new reason.
    Raises psycopg errors that are not permanent; then nothing of the batch is stored or marked.
    """
    with connection.transaction():
        values = {"ids": ids, "after": after, "limit": limit}
        letters = run(connection, _LOCK, values, row=STORED_ROW).fetchall()
        if not letters:
            return None
        refused: dict[int, _Refusal] = {}
        for kind in (METER, VEHICLE):
            refused |= _store_readings(connection, kind, [letter for letter in letters if letter.kind == kind.name])
        for letter in letters:
            if letter.kind == "entry" and (refusal := _store_entry(connection, letter)):
                refused[letter.id] = refusal
        run(connection, _MARK_REPLAYED, {"ids": [letter.id for letter in letters if letter.id not in refused]})
        notes = [{"letter_id": id_, "why": each.reason, "state": each.sqlstate} for id_, each in refused.items()]
        run_many(connection, _NOTE_REFUSAL, notes)
    return Replayed(len(letters) - len(refused), len(refused), letters[-1].id)


def _store_readings(
    connection: psycopg.Connection, kind: Kind, letters: Sequence[StoredDeadLetter]
) -> dict[int, _Refusal]:
    """Returns the letters, by id, whose readings were refused again."""
    refused: dict[int, _Refusal] = {}
    accepted: list[HistoryRow] = []
    for start in range(0, len(letters), _ROWS_PER_COPY):
        chunk = letters[start : start + _ROWS_PER_COPY]
        rows = [_history_row(kind, letter) for letter in chunk]
        refusals = {refusal.index: refusal for refusal in copy_history(connection, kind, rows)}
        refused |= {chunk[index].id: _Refusal(each.reason, each.sqlstate) for index, each in refusals.items()}
        accepted += [row for index, row in enumerate(rows) if index not in refusals]
    mark_late_readings(connection, [(kind, accepted)])
    upsert_live(connection, kind, accepted)
    return refused


def _history_row(kind: Kind, letter: StoredDeadLetter) -> HistoryRow:
    reading = letter.reading or {}
    device, timestamp, *values = (reading[field] for field in kind.fields)
    recorded = to_microseconds(datetime.fromisoformat(timestamp))
    return (device, recorded, to_microseconds(letter.received_at), *values)


def _store_entry(connection: psycopg.Connection, letter: StoredDeadLetter) -> _Refusal | None:
    """Tries to read the entry again. Those of its readings that are refused become letters of their own."""
    entry = StreamEntry(parse_entry_id(letter.entry_id), {FIELD: letter.payload or b""})
    batch = Batch(letter.shard, [entry])
    if batch.unreadable:
        return _Refusal(batch.unreadable[0].reason)
    try:
        with connection.transaction():
            store_batch(connection, batch)
    except MostlyRefused as error:
        return _Refusal(str(error))
    return None
