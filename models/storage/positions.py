"""Each shard's position in the stream, and the batches that moved it there.

The position moves in the transaction that stores the readings, and its row lock is the fence between two drains of
one shard. (The pattern: Apache Kafka's consumer documentation, "Storing Offsets Outside Kafka".)
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import args_row, class_row

from models.stream.entry_ids import EntryId, parse_entry_id
from models.stream.telemetry import TelemetryStream

# After a failure that a retry would not cure, a shard rests for this long.
REST_SECONDS = 5


@dataclass(frozen=True)
class Position:
    entry_id: EntryId
    previous_entry_id: EntryId
    resting: bool


@dataclass(frozen=True)
class ShardPosition:
    """A row of the table, as health reads it."""

    shard: int
    entry_id: str
    previous_entry_id: str
    moved_at: datetime | None
    failure: str | None  # why the shard does not move
    diverged_at: datetime | None  # last


def lock_position(connection: psycopg.Connection, shard: int) -> Position | None:
    """Locks the shard for this transaction; None if another drain has locked it, or it has no position yet."""
    statement = f"""select entry_id, previous_entry_id, coalesce(failed_at > now() - interval '{REST_SECONDS} s', false)
                    from ingest_positions where shard = %s for update skip locked"""
    return connection.cursor(row_factory=args_row(_read_position)).execute(statement, [shard]).fetchone()


def _read_position(entry_id: str, previous_entry_id: str, resting: bool) -> Position:
    return Position(parse_entry_id(entry_id), parse_entry_id(previous_entry_id), resting)


def create_position(connection: psycopg.Connection, shard: int) -> bool:
    """Gives the shard its position before the first entry; False if it has one. A transaction of its own."""
    with connection.transaction():
        created = connection.execute("insert into ingest_positions (shard) values (%s) on conflict do nothing", [shard])
    return created.rowcount == 1


def move_position(
    connection: psycopg.Connection, shard: int, entries: list[EntryId], *, readings: int, dead_letters: int
) -> None:
    """Moves the position to the last of these entries and records the batch."""
    connection.execute(
        """update ingest_positions
           set previous_entry_id = entry_id, entry_id = %s, moved_at = now(), failure = null, failed_at = null
           where shard = %s""",
        [str(entries[-1]), shard],
    )
    record_batch(connection, shard, entries, readings=readings, dead_letters=dead_letters)


def record_batch(
    connection: psycopg.Connection, shard: int, entries: list[EntryId], *, readings: int, dead_letters: int
) -> None:
    numbers = [entry.number for entry in entries]
    # The array as text: psycopg takes ten times as long to convert a list of thousands of numbers.
    array = f"{{{','.join(map(str, numbers))}}}"
    connection.execute(
        """insert into ingest_batches (shard, last_entry, first_entry, entries, readings, dead_letters)
           values (%s, %s, %s, %s::int8[], %s, %s)""",
        [shard, numbers[-1], numbers[0], array, readings, dead_letters],
    )


def adopt_entry(
    connection: psycopg.Connection, shard: int, entry: EntryId, *, readings: int, dead_letters: int
) -> None:
    """Adds an entry before the position, which no batch holds, to the batch whose range it falls into."""
    added = connection.execute(
        """update ingest_batches
           set entries = entries || %(number)s, first_entry = least(first_entry, %(number)s),
               readings = readings + %(readings)s, dead_letters = dead_letters + %(dead_letters)s
           where shard = %(shard)s and last_entry =
             (select min(last_entry) from ingest_batches where shard = %(shard)s and last_entry >= %(number)s)""",
        {"shard": shard, "number": entry.number, "readings": readings, "dead_letters": dead_letters},
    ).rowcount
    if not added:
        record_batch(connection, shard, [entry], readings=readings, dead_letters=dead_letters)


def stored_entries(connection: psycopg.Connection, shard: int, entries: Iterable[EntryId]) -> set[EntryId]:
    """Those of the entries that a committed batch holds, as far back as batches are kept.

    Batches of a shard do not overlap: an entry can only be in the first one that ends at or after it, which the
    primary key of ingest_batches finds.
    """
    by_number = {entry.number: entry for entry in entries}
    found = connection.execute(
        """select number
           from unnest(%s::int8[]) as wanted (number)
           cross join lateral (select entries from ingest_batches where shard = %s and last_entry >= number
                               order by last_entry limit 1) as batch
           where number = any(batch.entries)""",
        [list(by_number), shard],
    ).fetchall()
    return {by_number[number] for (number,) in found}


def note_failure(connection: psycopg.Connection, shard: int, failure: str) -> None:
    """Records why the shard does not move, until it moves again."""
    connection.execute("update ingest_positions set failure = %s, failed_at = now() where shard = %s", [failure, shard])


def note_divergence(connection: psycopg.Connection, shard: int) -> None:
    connection.execute("update ingest_positions set diverged_at = now() where shard = %s", [shard])


def list_positions(connection: psycopg.Connection) -> dict[int, ShardPosition]:
    """The positions of all shards that were ever drained, by shard, in order."""
    statement = """select shard, entry_id, previous_entry_id, moved_at, failure, diverged_at
                   from ingest_positions order by shard"""
    rows = connection.cursor(row_factory=class_row(ShardPosition)).execute(statement)
    return {position.shard: position for position in rows}


def delete_batches(connection: psycopg.Connection, shard: int, before: datetime) -> int:
    """Deletes the records of batches whose last entry is older than `before`; their receipts answer 404 then."""
    oldest_kept = EntryId(int(before.timestamp() * 1000), 0)
    return connection.execute(
        "delete from ingest_batches where shard = %s and last_entry < %s", [shard, oldest_kept.number]
    ).rowcount


def list_diverged_shards(connection: psycopg.Connection, stream: TelemetryStream) -> list[int]:
    """The shards whose stream does not match the stored position now.

    A shard that moves during the check is being drained, and so reconciled: it is not listed.
    """
    stored_ids = {shard: stream.stored_id(shard) for shard in list_positions(connection)}
    return [
        shard
        for shard, position in list_positions(connection).items()
        if (stored_id := stored_ids.get(shard)) is not None
        and not _match(stream, position, str(stored_id))
        and stream.stored_id(shard) == stored_id
    ]


def _match(stream: TelemetryStream, position: ShardPosition, stored_id: str) -> bool:
    """Whether this stored id is the position, or the one before a trim that is still to come."""
    if stored_id == position.entry_id:
        return True
    entry_id = parse_entry_id(position.entry_id)
    return stored_id == position.previous_entry_id and stream.contains(position.shard, entry_id)
