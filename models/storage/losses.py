"""Losses: accepted readings that a server has lost, as far as a diverged stream shows. A person acknowledges each.

In SQL and not in Core: commands that show the state of the engine start a fifth of a second faster without SQLAlchemy.
"""

from datetime import datetime
from typing import Annotated, Any

import psycopg
from msgspec import Meta, Struct
from psycopg.rows import args_row

from models.readings import rfc3339, to_datetime
from models.stream.entry_ids import NO_ENTRY, EntryId

REDIS, POSTGRES = "redis", "postgres"


class Loss(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Accepted readings of one shard that may be lost: Redis or Postgres was flushed, deleted or restored."""

    id: Annotated[int, Meta(ge=1, le=2**63 - 1, examples=[3])]
    shard: Annotated[int, Meta(ge=0)]
    server: Annotated[str, Meta(description="which lost them", extra_json_schema={"enum": [REDIS, POSTGRES]})]
    message: Annotated[str, Meta(description="the same in words")]
    lost_from: Annotated[datetime, Meta(tz=True, description="accepted after this time")] | None
    lost_until: Annotated[datetime, Meta(tz=True, description="accepted before this time")]
    max_entries: (
        Annotated[int, Meta(description="at most this many entries (one a request) are lost; null: unknown")] | None
    )
    found_at: Annotated[datetime, Meta(tz=True)]
    acknowledged_at: Annotated[datetime, Meta(tz=True)] | None
    acknowledged_by: Annotated[str, Meta(description="the id of a key, or the user of the command")] | None
    note: str | None


def _loss(id_: int, shard: int, server: str, *rest: Any) -> Loss:
    lost_from, lost_until, max_entries = rest[:3]
    count = "an unknown number of entries" if max_entries is None else f"at most {max_entries:,} entries"
    since = f"between {rfc3339(lost_from, 'seconds')} and" if lost_from else "before"
    message = f"shard {shard}: {count} accepted {since} {rfc3339(lost_until, 'seconds')}, lost by {server.capitalize()}"
    return Loss(id_, shard, server, message, *rest)


_COLUMNS = """id, shard, server, lost_from, lost_until, max_entries, found_at, acknowledged_at, acknowledged_by, note"""
_ROW = args_row(_loss)


def record_loss(
    connection: psycopg.Connection, shard: int, *, position: EntryId, stored_id: EntryId, max_entries: int
) -> None:
    """Records what a divergence may have lost, in the caller's transaction.

    A stored id before the position: Redis lost entries, at most a backlog of `max_entries`. One after it: Postgres
    lost what was trimmed since. Repeated until somebody acknowledges it, the same divergence extends its record.
    """
    span: tuple[datetime | None, datetime | None, int | None, str]
    if stored_id < position:
        span = to_datetime(position.ms * 1000), None, max_entries, REDIS
    else:
        lost_from = None if position == NO_ENTRY else to_datetime(position.ms * 1000)
        span = lost_from, to_datetime(stored_id.ms * 1000), None, POSTGRES
    connection.execute(
        """insert into losses (shard, position, stored_id, lost_from, lost_until, max_entries, server)
           values (%s, %s, %s, %s, coalesce(%s, now()), %s, %s)
           on conflict (shard, position, stored_id) where acknowledged_at is null
           do update set lost_until = excluded.lost_until""",
        [shard, str(position), str(stored_id), *span],
    )


def list_losses(
    connection: psycopg.Connection, *, limit: int, acknowledged: bool | None = None, before: int | None = None
) -> list[Loss]:
    """Up to `limit` losses, the newest first, with ids below `before`. Index: the primary key backwards."""
    statement = f"""select {_COLUMNS} from losses
                    where (%(acknowledged)s::bool is null or (acknowledged_at is not null) = %(acknowledged)s)
                      and (%(before)s::int8 is null or id < %(before)s) order by id desc limit %(limit)s"""
    values = {"acknowledged": acknowledged, "before": before, "limit": limit}
    return connection.cursor(row_factory=_ROW).execute(statement, values).fetchall()


def acknowledge_loss(connection: psycopg.Connection, loss_id: int, *, by: str, note: str | None = None) -> Loss | None:
    """Records that a person knows about the loss; None if there is no such loss.

    Acknowledged again, only a given note changes.
    """
    statement = f"""update losses
                    set acknowledged_at = coalesce(acknowledged_at, now()),
                        acknowledged_by = coalesce(acknowledged_by, %s), note = coalesce(%s, note)
                    where id = %s returning {_COLUMNS}"""
    return connection.cursor(row_factory=_ROW).execute(statement, [by, note, loss_id]).fetchone()
