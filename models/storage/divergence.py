"""Do the stream and the position belong together? And what is done where they do not.

Each trim leaves a mark in the stream: the newest entry known to be stored. It equals the position; or the one
before, with the stored entries still in the stream, where a drain died between commit and trim. Anything else
means that Redis lost data or was restored from an older file (or Postgres was): the stream went back in time.
Then ids may be given anew that the position has already passed, and entries may lie before the position that
no batch ever held.
"""

import psycopg
import structlog

from models.observability.metrics import STREAM_DIVERGENCES
from models.resources import Resources
from models.storage.positions import Position, adopt_entry, list_positions, note_went_back, stored_entries
from models.storage.writer import NOTHING, Stored, store_entries
from models.stream.entry_ids import NO_ENTRY, EntryId, parse_entry_id
from models.stream.telemetry import TelemetryStream

log = structlog.get_logger()

PAGE_ENTRIES = 500
_START = parse_entry_id(NO_ENTRY)


def reconcile(connection: psycopg.Connection, resources: Resources, shard: int, position: Position) -> Stored | None:
    """None where entries after the position may be drained now.

    Otherwise something was mended first, in the caller's transaction: commit it and call again. What is returned
    is what that stored.
    """
    mark = resources.stream.stored_id(shard) or _START
    if mark == position.entry_id:
        return None
    if mark == position.previous_entry_id:
        if resources.stream.contains(shard, position.entry_id):
            resources.stream.trim(shard, position.entry_id, mark=mark)
            return None
        # The drain before us may have trimmed it since we asked for the mark: then that has moved, too.
        mark = resources.stream.stored_id(shard) or _START
        if mark == position.entry_id:
            return None
    STREAM_DIVERGENCES.inc()
    log.error("stream_diverged", shard=shard, stored=str(position.entry_id), stream_knows=str(mark))
    note_went_back(connection, shard)
    # First of all no new entry may get an id that the position has passed.
    resources.stream.raise_last_id(shard, position.entry_id)
    return _adopt_page(connection, resources, shard, position, mark)


def _adopt_page(
    connection: psycopg.Connection, resources: Resources, shard: int, position: Position, mark: EntryId
) -> Stored | None:
    """Stores those of the oldest entries before the position that no batch held; None once there are none left."""
    entries = [
        entry for entry in resources.stream.read_after(shard, _START, PAGE_ENTRIES) if entry[0] <= position.entry_id
    ]
    known = stored_entries(connection, shard, [entry_id for entry_id, _ in entries])
    if new := [entry for entry in entries if entry[0] not in known]:
        adopted = NOTHING
        for entry in new:
            stored = store_entries(connection, shard, resources.stream.shards, [entry])
            adopt_entry(connection, shard, entry[0], readings=stored.readings, dead_letters=stored.dead_letters)
            adopted += stored
        log.warning("entries_adopted", shard=shard, entries=len(new))
        return adopted  # seen as known at the next call, after the commit, and only then removed
    if entries:
        resources.stream.remove(shard, [entry_id for entry_id, _ in entries])
        return NOTHING
    resources.stream.trim(shard, position.entry_id, mark=mark)
    return None


def list_diverged_shards(connection: psycopg.Connection, stream: TelemetryStream) -> list[int]:
    """The shards whose stream and position do not belong together now."""
    shards = [position["shard"] for position in list_positions(connection)]
    before = {shard: stream.stored_id(shard) or _START for shard in shards}
    positions = list_positions(connection)
    # A shard that moved while we looked is being drained, and so reconciled.
    return [
        position["shard"]
        for position in positions
        if str(before.get(position["shard"])) not in (position["entry_id"], position["previous_entry_id"])
        and (stream.stored_id(position["shard"]) or _START) == before.get(position["shard"])
    ]
