"""Detects and repairs a stream that no longer matches its stored position (after a restore or flush).

Each trim leaves the stored id in the stream, which loses it when it is deleted. It equals the position, or the
previous position while the stored entries are still in the stream (a drain ended between commit and trim). Any other
stored id means divergence: Redis or Postgres lost data or was restored from an older state. Redis may then assign ids
that the position has already passed, and the stream may hold entries before the position that no batch has stored.
"""

import psycopg
import structlog

from models.observability.metrics import STREAM_DIVERGENCES
from models.resources import Resources
from models.storage.batch import Batch
from models.storage.losses import record_loss
from models.storage.positions import Position, adopt_entry, note_divergence, stored_entries
from models.storage.writer import NOTHING, Stored, store_batch
from models.stream.entry_ids import NO_ENTRY, EntryId

log = structlog.get_logger()

PAGE_ENTRIES = 500


def reconcile(connection: psycopg.Connection, resources: Resources, shard: int, position: Position) -> Stored | None:
    """None if stream and position match: the entries after the position may be drained.

    Otherwise a page of the stream was repaired in the caller's transaction: commit it and call again. Returns what
    the repair stored.
    """
    stream = resources.stream
    stored_id = stream.stored_id(shard)
    if stored_id == position.entry_id:
        return None
    if stored_id == position.previous_entry_id:
        if stream.contains(shard, position.entry_id):
            stream.trim(shard, position.entry_id, replaces=stored_id)
            return None
        # The previous drain may have trimmed between the two calls: then the stored id has changed, too.
        stored_id = stream.stored_id(shard)
        if stored_id == position.entry_id:
            return None
    STREAM_DIVERGENCES.inc()
    log.error("stream_diverged", shard=shard, position=str(position.entry_id), stored_id=str(stored_id))
    note_divergence(connection, shard)
    bound = resources.settings.shard_max_entries
    record_loss(connection, shard, position=position.entry_id, stored_id=stored_id, max_entries=bound)
    # Before anything else: no new entry may get an id that the position has passed.
    stream.raise_last_id(shard, position.entry_id)
    return _adopt_page(connection, resources, shard, position, stored_id)


def _adopt_page(
    connection: psycopg.Connection, resources: Resources, shard: int, position: Position, stored_id: EntryId
) -> Stored | None:
    """Stores entries before the position that no batch holds, oldest first; None once there are none left."""
    stream = resources.stream
    entries = [entry for entry in stream.read_after(shard, NO_ENTRY, PAGE_ENTRIES) if entry[0] <= position.entry_id]
    known = stored_entries(connection, shard, [entry_id for entry_id, _ in entries])
    if new := [entry for entry in entries if entry[0] not in known]:
        adopted = NOTHING
        for entry in new:
            stored = store_batch(connection, Batch(shard, [entry]))
            adopt_entry(connection, shard, entry[0], readings=stored.readings, dead_letters=stored.dead_letters)
            adopted += stored
        log.warning("entries_adopted", shard=shard, entries=len(new))
        return adopted  # the next call finds them stored, after the commit, and only then removes them
    if entries:
        stream.remove(shard, [entry_id for entry_id, _ in entries])
        return NOTHING
    stream.trim(shard, position.entry_id, replaces=stored_id)
    return None
