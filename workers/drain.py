"""The drain: a shard's entries into Postgres, each exactly once.

One batch is one transaction: take the shard, read what comes after its position, store it, move the position.
Only then are the entries trimmed. A worker that dies before the commit leaves nothing; one that dies after it
has moved the position, and the next drain trims what is stored. A drain task is a disposable tick: run twice,
the second finds the shard taken; lost, the sweep rings again.
"""

import time
from contextlib import suppress
from dataclasses import asdict

import psycopg
import redis
import structlog
from psycopg_pool import PoolTimeout

from models.database import is_transient
from models.observability.metrics import step
from models.resources import Resources
from models.storage.divergence import reconcile
from models.storage.history import MostlyRefused
from models.storage.positions import Position, create_position, lock_position, move_position, note_failure
from models.storage.writer import NOTHING, Stored, store_entries
from models.stream.entry_ids import EntryId
from models.stream.keys import FIELD
from models.stream.telemetry import StreamEntry, TelemetryStream
from workers.app import app, current_resources
from workers.doorbell import ring
from workers.metrics import BATCH_SECONDS, committing, count_failure

log = structlog.get_logger()

# The first page of a batch is small: only it tells how many readings an entry holds.
FIRST_PAGE_ENTRIES = 64
PAGE_ENTRIES = 5_000
READING_BYTES = 40  # of an encoded entry, about


@app.task(name="workers.drain.drain")
def drain(shard: int) -> None:
    """Drains the shard until it is empty, taken by another drain, or its time is over; then it rings for itself."""
    resources = current_resources()
    give_up_at = time.monotonic() + resources.settings.drain_seconds
    try:
        while time.monotonic() < give_up_at:
            # Asked after the lock of the last batch was released: a bell that came while it was held found the
            # shard taken, and is answered here.
            backlog = resources.stream.backlog(shard)
            if not backlog:
                return
            if backlog < resources.settings.drain_batch_readings:
                linger(resources, shard)
            if drain_batch(resources, shard) is None:
                return
    except (redis.RedisError, psycopg.Error, MostlyRefused, PoolTimeout) as error:
        # The entries stay where they are and the sweep rings again.
        count_failure(error)
        log.warning("drain_failed", shard=shard, error=type(error).__name__, reason=str(error).strip())
        return
    ring(shard)


def linger(resources: Resources, shard: int) -> None:
    """Waits until the oldest entry has the age at which a batch is taken, so that a batch can fill."""
    oldest = resources.stream.oldest(shard)
    if oldest is not None:
        age_ms = time.time() * 1000 - oldest.ms
        wait_ms = resources.settings.drain_linger_ms - max(0, age_ms)
        time.sleep(max(0, wait_ms) / 1000)


def drain_batch(resources: Resources, shard: int) -> Stored | None:
    """Stores one batch of the shard; None where the shard is another drain's, or rests after a failure.

    Raises what kept the batch from being stored; then nothing of it is, and the entries are untouched.
    """
    started = time.monotonic()
    with resources.database.connection() as connection:
        try:
            with committing(connection):
                with step("lock"):
                    position = lock_position(connection, shard)
                if position and position.resting:
                    return None
                stored, last = _store_batch(connection, resources, shard, position) if position else (None, None)
            if stored and stored.entries:
                stored.count()
        except (psycopg.Error, MostlyRefused) as error:
            _note(connection, shard, error)
            raise
        is_new = position is None and create_position(connection, shard)
    if position is None:
        return drain_batch(resources, shard) if is_new else None
    if last:
        with step("trim"):
            resources.stream.trim(shard, last, replaces=position.entry_id)
        seconds = time.monotonic() - started
        BATCH_SECONDS.observe(seconds)
        log.info("batch_stored", shard=shard, seconds=round(seconds, 4), readings=stored.readings, **asdict(stored))
    return stored


def _store_batch(
    connection: psycopg.Connection, resources: Resources, shard: int, position: Position
) -> tuple[Stored, EntryId | None]:
    """Stores what comes after the position and moves it; the last entry stored, None where there was none."""
    with step("divergence"):
        adopted = reconcile(connection, resources, shard, position)
    if adopted:
        return adopted, None
    with step("read"):
        entries = read_batch(resources.stream, shard, position.entry_id, resources.settings.drain_batch_readings)
    if not entries:
        return NOTHING, None
    stored = store_entries(connection, shard, resources.stream.shards, entries)
    ids = [entry_id for entry_id, _ in entries]
    with step("position"):
        move_position(connection, shard, ids, readings=stored.readings, dead_letters=stored.dead_letters)
    return stored, ids[-1]


def read_batch(stream: TelemetryStream, shard: int, after: EntryId, readings: int) -> list[StreamEntry]:
    """The entries after `after`, until they hold about so many readings."""
    entries: list[StreamEntry] = []
    budget, size, count = readings * READING_BYTES, 0, FIRST_PAGE_ENTRIES
    while size < budget:
        page = stream.read_after(shard, after, count)
        entries += page
        size += sum(len(fields.get(FIELD, b"")) for _, fields in page)
        if len(page) < count:
            break
        after = page[-1][0]
        count = max(1, min(PAGE_ENTRIES, (budget - size) * len(entries) // max(1, size)))
    return entries


def _note(connection: psycopg.Connection, shard: int, error: Exception) -> None:
    """Writes down why the shard does not move, where that is not over in a moment."""
    if isinstance(error, psycopg.Error) and is_transient(error):
        return
    with suppress(psycopg.Error), connection.transaction():
        note_failure(connection, shard, f"{type(error).__name__}: {str(error).strip()}"[:500])
