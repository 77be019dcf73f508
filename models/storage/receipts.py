"""What became of the entry that a receipt names."""

from typing import Literal, NamedTuple

import psycopg
import redis

from models.storage.dead_letters import count_for_entry
from models.storage.positions import stored_entries
from models.stream.entry_ids import EntryId
from models.stream.telemetry import TelemetryStream


class EntryState(NamedTuple):
    state: Literal["pending", "stored", "dead-lettered", "partly-dead-lettered"]
    dead_letters: int


def get_entry_state(
    connection: psycopg.Connection, stream: TelemetryStream, shard: int, entry_id: EntryId
) -> EntryState | None:
    """None: there is no such entry.

    The stream is read before the table, because an entry moves from the one to the other and never back.
    Raises redis.RedisError if Redis is unavailable and Postgres does not have the entry.
    """
    error = None
    try:
        pending = stream.contains(shard, entry_id)
    except redis.RedisError as unavailable:
        error, pending = unavailable, False
    if not stored_entries(connection, shard, [entry_id]):
        if error:
            raise error
        return EntryState("pending", 0) if pending else None
    dead, readings = count_for_entry(connection, shard, entry_id)
    if not dead:
        return EntryState("stored", 0)
    return EntryState("dead-lettered" if dead >= readings else "partly-dead-lettered", dead)
