"""Periodic tasks that beat starts. A run that is repeated, late or left out does no harm."""

from datetime import UTC, datetime, timedelta

import psycopg
import redis
import structlog
from psycopg_pool import PoolTimeout

from models.alerts.deliveries import delete_old_deliveries
from models.observability.heartbeats import SWEEP
from models.settings import DIRECT_SHARD, MAX_SHARDS
from models.storage import partitions
from models.storage.divergence import list_diverged_shards
from models.storage.positions import forget_batches
from workers.app import app, current_resources, record_heartbeat
from workers.doorbell import ring
from workers.drain import drain_batch

log = structlog.get_logger()


@app.task(name="workers.maintenance.sweep")
def sweep() -> None:
    """Rings for every shard with a backlog, so that a lost bell costs at most a second.

    Also for shards above STREAM_SHARDS, from before it was lowered. A diverged stream without a backlog is repaired
    here; otherwise its drain does that.
    """
    resources = current_resources()
    idle = []
    record_heartbeat(SWEEP)
    try:
        for shard in resources.stream.known_shards():
            if resources.stream.backlog(shard):
                ring(shard)
            else:
                idle.append(shard)
        with resources.database.connection() as connection:
            diverged = list_diverged_shards(connection, resources.stream)
        for shard in set(idle) & set(diverged):
            drain_batch(resources, shard)
    except (redis.RedisError, psycopg.Error, PoolTimeout) as error:
        log.warning("sweep_failed", error=type(error).__name__, reason=str(error).strip())


@app.task(name="workers.maintenance.ensure_partitions")
def ensure_partitions() -> None:
    """Creates the partitions of the days ahead and drops those beyond the retention, if one is set."""
    resources = current_resources()
    with resources.database.connection() as connection:
        created = partitions.ensure_partitions(connection, days_ahead=resources.settings.partition_days_ahead)
        dropped = (
            partitions.drop_expired(connection, keep_days=resources.settings.retention_days)
            if resources.settings.retention_days
            else []
        )
    if created or dropped:
        log.info("partitions_changed", created=created, dropped=dropped)


@app.task(name="workers.maintenance.forget")
def forget() -> None:
    """Deletes batches whose receipts have expired, and old webhook deliveries."""
    resources = current_resources()
    before = datetime.now(UTC) - timedelta(days=resources.settings.receipt_retention_days)
    with resources.database.connection() as connection:
        for shard in [*range(MAX_SHARDS), DIRECT_SHARD]:
            forget_batches(connection, shard, before)
        delete_old_deliveries(connection)
