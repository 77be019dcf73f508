"""Stores an entry in Postgres while Redis is unavailable, with the same batch writer (INGEST_FALLBACK=direct).

Only for requests without an idempotency key, because Redis keeps the keys, and only for appends that were certainly
not accepted, so that nothing is stored twice.
"""

from threading import BoundedSemaphore

import psycopg
from psycopg.rows import scalar_row
from psycopg_pool import PoolTimeout

from models.locks import Lock, take_lock
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

_TAKE_TIMES = """
select setval('direct_entries', greatest(nextval('direct_entries'),
                                         (extract(epoch from clock_timestamp()) * 1000000)::int8) + %(readings)s - 1)
"""

_writers = BoundedSemaphore(DIRECT_WRITERS)


def store_direct(resources: Resources, payload: bytes, *, readings: int) -> EntryId:
    """Stores one encoded entry with its `readings`, in history or the dead letters; returns the id for its receipt.

    Raises StreamUnreachable if nothing was stored, OutcomeUnknown if the connection was lost during the transaction.
    """
    if not _writers.acquire(blocking=False):
        raise StreamUnreachable("all direct writers are busy")
    try:
        with resources.database.connection() as connection:
            try:
                return _store(connection, payload, readings)
            except psycopg.OperationalError as error:
                if connection.closed:
                    raise OutcomeUnknown("the connection to Postgres was lost") from error
                raise
    except (psycopg.Error, PoolTimeout, MostlyRefused) as error:
        raise StreamUnreachable(f"neither Redis nor Postgres is available: {error}") from error
    finally:
        _writers.release()


def _store(connection: psycopg.Connection, payload: bytes, readings: int) -> EntryId:
    entry_id = _next_entry_id(connection, readings)
    with connection.transaction():
        stored = store_batch(connection, Batch(DIRECT_SHARD, [StreamEntry(entry_id, {FIELD: payload})]))
        record_batch(connection, DIRECT_SHARD, [entry_id], readings=stored.readings, dead_letters=stored.dead_letters)
    stored.count()
    return entry_id


def _next_entry_id(connection: psycopg.Connection, readings: int) -> EntryId:
    """Takes a microsecond for each reading: by the clock of Postgres, but later than all taken before.

    Its own short transaction, so that writers wait for each other here only. The commit of the readings, which comes
    later, also syncs this one.
    """
    with connection.transaction():
        connection.execute("set local synchronous_commit = off")
        take_lock(connection, Lock.DIRECT_ENTRIES)
        cursor = connection.cursor(row_factory=scalar_row).execute(_TAKE_TIMES, {"readings": readings})
        return EntryId.of(one(cursor) - readings + 1)
