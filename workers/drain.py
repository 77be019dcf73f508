"""The drain: a shard's entries into Postgres, each exactly once.

One batch is one transaction: lock the shard's position, read the entries after it, write them, move the position.
Only then are the entries trimmed. A worker that ends before the commit has changed nothing; if it ends after the
commit, the position has moved and the next drain trims what is stored. A drain task may run twice (the second finds
the shard locked) or get lost (the sweep rings again).
"""

import time
from contextlib import suppress
from dataclasses import asdict
from typing import NamedTuple

import psycopg
import redis
import structlog

from models.causes import describe
from models.database import is_transient
from models.observability.metrics import step
from models.observability.outages import warn_of_outage
from models.resources import Resources
from models.storage.batch import Batch
from models.storage.divergence import reconcile
from models.storage.history import MostlyRefused
from models.storage.positions import Position, create_position, lock_position, move_position, note_failure
from models.storage.writer import NOTHING, Stored, store_batch
from models.stream.entry_ids import EntryId
from models.stream.telemetry import TelemetryStream
from workers.app import app, current_resources
from workers.doorbell import ring
from workers.metrics import BATCH_SECONDS, committing, count_failure

log = structlog.get_logger()

# An entry holds one reading or ten thousand. The first page of a batch is small; each further page is what the entries
# so far suggest, but at most PAGE_GROWTH times the page before, since a larger one may be read in vain.
FIRST_PAGE_ENTRIES = 8
PAGE_GROWTH = 16
MAX_PAGE_ENTRIES = 5_000


class _Drained(NamedTuple):
    stored: Stored
    last: EntryId | None  # the newest entry that may be trimmed


@app.task(name="workers.drain.drain")
def drain(shard: int) -> None:
    """Drains the shard until it is empty, locked by another drain, or the time is over; then it rings again."""
    resources = current_resources()
    give_up_at = time.monotonic() + resources.settings.drain_seconds
    try:
        while time.monotonic() < give_up_at:
            # Read after the last batch released the lock: a drain rung meanwhile found the shard locked and ended.
            backlog = resources.stream.backlog(shard)
            if not backlog:
                return
            if backlog < resources.settings.drain_batch_readings:
                linger(resources, shard)
            if drain_batch(resources, shard) is None:
                return
    except (redis.RedisError, psycopg.Error, MostlyRefused) as error:
        # The entries stay in the stream and the sweep rings again.
        count_failure(error)
        with suppress(redis.RedisError):
            resources.stream.note_failure(shard, describe(error))
        warn_of_outage("drain_failed", error, shard=shard)
        return
    ring(shard)


def linger(resources: Resources, shard: int) -> None:
    """Waits until the oldest entry is `drain_linger_ms` old, so that a batch can fill."""
    oldest = resources.stream.oldest(shard)
    if oldest is not None:
        age_ms = time.time() * 1000 - oldest.ms
        wait_ms = resources.settings.drain_linger_ms - max(0, age_ms)
        time.sleep(max(0, wait_ms) / 1000)


def drain_batch(resources: Resources, shard: int) -> Stored | None:
    """Stores one batch of the shard; None if another drain has locked the shard, or it rests after a failure.

    Raises the error that kept the batch from being stored; then nothing of it is stored and the entries stay.
    """
    started = time.monotonic()
    with resources.database.connection() as connection:
        try:
            with committing(connection):
                with step("lock"):
                    position = lock_position(connection, shard)
                drained = _store_next(connection, resources, shard, position) if position else None
        except (psycopg.Error, MostlyRefused) as error:
            _note_failure(connection, shard, error)
            raise
        is_new = position is None and create_position(connection, shard)
    if is_new:
        return drain_batch(resources, shard)
    if position is None or drained is None:
        return None
    stored = drained.stored
    if stored.entries:
        stored.count()
    if drained.last:
        with step("trim"):
            resources.stream.trim(shard, drained.last, replaces=position.entry_id)
        seconds = time.monotonic() - started
        BATCH_SECONDS.observe(seconds)
        log.info("batch_stored", shard=shard, seconds=round(seconds, 4), readings=stored.readings, **asdict(stored))
    return stored


def _store_next(
    connection: psycopg.Connection, resources: Resources, shard: int, position: Position
) -> _Drained | None:
    """Reads and writes the batch after the position, and moves the position; None if the shard rests."""
    if position.resting:
        return None
    with step("divergence"):
        repaired = reconcile(connection, resources, shard, position)
    if repaired:
        return _Drained(repaired, None)
    batch = read_batch(resources.stream, shard, position.entry_id, resources.settings.drain_batch_readings)
    if not batch.entries:
        return _Drained(NOTHING, None)
    stored = store_batch(connection, batch)
    with step("position"):
        move_position(connection, shard, batch.entries, readings=stored.readings, dead_letters=stored.dead_letters)
    return _Drained(stored, batch.entries[-1])


def read_batch(stream: TelemetryStream, shard: int, after: EntryId, max_readings: int) -> Batch:
    """The entries after `after`, up to and including the one with which they hold `max_readings` or more."""
    batch, count = Batch(shard), FIRST_PAGE_ENTRIES
    while batch.readings < max_readings:
        with step("read"):
            page = stream.read_after(shard, after, count)
        with step("decode"):
            for entry_id, fields in page:
                batch.add(entry_id, fields)
                if batch.readings >= max_readings:
                    break
        if len(page) < count:
            break
        after = batch.entries[-1]
        fitting = (max_readings - batch.readings) * len(batch.entries) // max(1, batch.readings)
        count = max(1, min(fitting, count * PAGE_GROWTH, MAX_PAGE_ENTRIES))
    return batch


def _note_failure(connection: psycopg.Connection, shard: int, error: Exception) -> None:
    """Records why the shard does not move, unless an immediate retry may succeed."""
    if isinstance(error, psycopg.Error) and is_transient(error):
        return
    with suppress(psycopg.Error), connection.transaction():
        note_failure(connection, shard, describe(error)[:500])
