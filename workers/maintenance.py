"""What beat has the workers do from time to time. Each may run twice, late, or not at all, without harm."""

from datetime import UTC, datetime, timedelta

import structlog

from models import partitions
from models.positions import forget_batches, list_positions
from workers.app import app, connections
from workers.drain import drain

log = structlog.get_logger()


@app.task(name="workers.maintenance.sweep")
def sweep() -> None:
    """Rings for every shard with a backlog, so that a lost bell costs a second and never data.

    Shards that were configured once are swept too: lowering STREAM_SHARDS leaves nothing behind.
    """
    held = connections()
    for shard in held.stream.known_shards():
        if held.stream.backlog(shard):
            drain.delay(shard)


@app.task(name="workers.maintenance.ensure_partitions")
def ensure_partitions() -> None:
    """Makes the days ahead, and drops the days past the retention where one is set."""
    held = connections()
    with held.database.connection() as connection:
        made = partitions.ensure_partitions(connection, days_ahead=held.settings.partition_days_ahead)
        dropped = (
            partitions.drop_expired(connection, keep_days=held.settings.retention_days)
            if held.settings.retention_days
            else []
        )
    if made or dropped:
        log.info("partitions_changed", made=made, dropped=dropped)


@app.task(name="workers.maintenance.forget")
def forget() -> None:
    """Forgets the batches whose receipts are no longer answered."""
    held = connections()
    before = datetime.now(UTC) - timedelta(days=held.settings.receipt_retention_days)
    with held.database.connection() as connection:
        for position in list_positions(connection):
            forget_batches(connection, position["shard"], before)
