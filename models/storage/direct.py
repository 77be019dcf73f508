"""Stores an entry in Postgres while Redis is unavailable, with the same batch writer (INGEST_FALLBACK=direct).

Only for requests without an idempotency key, because Redis keeps the keys, and only for appends that were certainly
not accepted, so that nothing is stored twice.
"""

from threading import BoundedSemaphore

import psycopg
from psycopg.rows import args_row
from psycopg_pool import PoolTimeout

from models.resources import Resources
from models.settings import DIRECT_SHARD
from models.sql import one
from models.storage.batch import Batch
from models.storage.history import MostlyRefused
from models.storage.positions import record_batch
from models.storage.writer import store_batch
from models.stream.admission import OutcomeUnknown, StreamUnreachable
from models.stream.entry_ids import EntryId
from models.stream.keys import FIELD
from models.stream.telemetry import StreamEntry

# Requests of one process that may write at a time; the others get 503, as without the fallback.
DIRECT_WRITERS = 2

_writers = BoundedSemaphore(DIRECT_WRITERS)


def store_direct(resources: Resources, payload: bytes) -> EntryId:
    """Stores one encoded entry, in history or the dead letters; returns the id for its receipt.

    Raises StreamUnreachable if nothing was stored, OutcomeUnknown if the connection was lost during the transaction.
    """
    if not _writers.acquire(blocking=False):
        raise StreamUnreachable("all direct writers are busy")
    try:
        with resources.database.connection() as connection:
            try:
                return _store(connection, resources.stream.shards, payload)
            except psycopg.OperationalError as error:
                if connection.closed:
                    raise OutcomeUnknown("the connection to Postgres was lost") from error
                raise
    except (psycopg.Error, PoolTimeout, MostlyRefused) as error:
        raise StreamUnreachable(f"neither Redis nor Postgres is available: {error}") from error
    finally:
        _writers.release()


def _store(connection: psycopg.Connection, shards: int, payload: bytes) -> EntryId:
    with connection.transaction():
        cursor = connection.cursor(row_factory=args_row(EntryId))
        entry_id = one(
            cursor.execute("select (extract(epoch from clock_timestamp()) * 1000)::int8, nextval('direct_entries')")
        )
        stored = store_batch(connection, Batch(DIRECT_SHARD, shards, [StreamEntry(entry_id, {FIELD: payload})]))
        record_batch(connection, DIRECT_SHARD, [entry_id], readings=stored.readings, dead_letters=stored.dead_letters)
    stored.count()
    return entry_id
