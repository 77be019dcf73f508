"""What became of what one request put into the stream."""

import psycopg
import redis

from models.storage.dead_letters import count_for_entry
from models.storage.positions import stored_entries
from models.stream.entry_ids import EntryId
from models.stream.telemetry import TelemetryStream


def entry_state(
    connection: psycopg.Connection, stream: TelemetryStream, shard: int, entry_id: EntryId
) -> tuple[str, int] | None:
    """("pending" | "stored" | "dead-lettered" | "partly-dead-lettered", dead letters); None: no such entry.

    The stream is asked before the table: an entry moves from the one to the other and never back.
    Raises redis.RedisError where only the stream could tell, and it is away.
    """
    away = None
    try:
        pending = stream.contains(shard, entry_id)
    except redis.RedisError as error:
        away, pending = error, False
    if not stored_entries(connection, shard, [entry_id]):
        if away:
            raise away
        return ("pending", 0) if pending else None
    dead, all_dead = count_for_entry(connection, shard, entry_id)
    if not dead:
        return "stored", 0
    return ("dead-lettered" if all_dead else "partly-dead-lettered"), dead
