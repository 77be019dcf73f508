"""Writing without Redis: a request straight into Postgres, by the same batch writer (INGEST_FALLBACK=direct).

For requests without an Idempotency-Key only: the keys are in Redis, and a repeat of a keyed request must be
known for one. Only an append that was certainly not taken comes here, so nothing is stored twice.
"""

from threading import BoundedSemaphore

import psycopg
from psycopg_pool import PoolTimeout

from models.resources import Resources
from models.settings import DIRECT_SHARD
from models.storage.batch import Batch
from models.storage.history import MostlyRefused
from models.storage.positions import record_batch
from models.storage.writer import store_batch
from models.stream.admission import OutcomeUnknown, StreamUnreachable
from models.stream.entry_ids import EntryId
from models.stream.keys import FIELD
from models.stream.telemetry import StreamEntry

# Requests of one process that may write at a time; the others are answered 503, as without the fallback.
DIRECT_WRITERS = 2

_writers = BoundedSemaphore(DIRECT_WRITERS)


def store_direct(resources: Resources, payload: bytes) -> EntryId:
    """Stores one encoded entry; returns the id that its receipt is made of.

    When this returns, the readings are in Postgres (or in the dead letters). Raises StreamUnreachable where
    nothing was taken, OutcomeUnknown where the connection was lost on the way.
    """
    if not _writers.acquire(blocking=False):
        raise StreamUnreachable("the direct writers are all busy")
    try:
        with resources.database.connection() as connection:
            try:
                return _store(connection, resources.stream.shards, payload)
            except psycopg.OperationalError as error:
                if connection.closed:
                    raise OutcomeUnknown("the connection to Postgres was lost") from error
                raise
    except (psycopg.Error, PoolTimeout, MostlyRefused) as error:
        raise StreamUnreachable(f"neither Redis nor Postgres took it: {error}") from error
    finally:
        _writers.release()


def _store(connection: psycopg.Connection, shards: int, payload: bytes) -> EntryId:
    with connection.transaction():
        ms, sequence = connection.execute(
            "select (extract(epoch from clock_timestamp()) * 1000)::int8, nextval('direct_entries')"
        ).fetchone()
        entry_id = EntryId(ms, sequence)
        stored = store_batch(connection, Batch(DIRECT_SHARD, shards, [StreamEntry(entry_id, {FIELD: payload})]))
        record_batch(connection, DIRECT_SHARD, [entry_id], readings=stored.readings, dead_letters=stored.dead_letters)
    stored.count()
    return entry_id
