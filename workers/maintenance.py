"""Periodic tasks that keep the engine in order. A run that is repeated, late or left out does no harm."""

from datetime import UTC, datetime, timedelta

import structlog

from models.alerts.deliveries import delete_old_deliveries
from models.analytics.sessions.records import end_overdue_sessions
from models.observability.heartbeats import SWEEP
from models.settings import DIRECT_SHARD, MAX_SHARDS
from models.storage import partitions
from models.storage.positions import delete_batches, list_diverged_shards
from workers.app import app, current_resources, record_heartbeat, tolerate_outage
from workers.doorbell import ring
from workers.drain import drain_batch

log = structlog.get_logger()


@app.task(name="workers.maintenance.sweep")
def sweep() -> None:
    """Rings for every shard with a backlog, so that a lost bell costs a second and never data.

    Shards above STREAM_SHARDS that still have entries are included: the setting may be lowered. A diverged stream
    without a backlog is repaired here, since no drain would start for it.
    """
    resources = current_resources()
    idle = set()
    record_heartbeat(SWEEP)
    with tolerate_outage("sweep_failed"):
        for shard in resources.stream.known_shards():
            if resources.stream.backlog(shard):
                ring(shard)
            else:
                idle.add(shard)
        with resources.database.connection() as connection:
            diverged = list_diverged_shards(connection, resources.stream)
        for shard in idle.intersection(diverged):
            drain_batch(resources, shard)


@app.task(name="workers.maintenance.ensure_partitions")
def ensure_partitions() -> None:
    """Creates the days ahead, and drops the days past the retention if one is set."""
    resources = current_resources()
    settings = resources.settings
    dropped: list[str] = []
    with resources.database.connection() as connection:
        created = partitions.ensure_partitions(connection, days_ahead=settings.partition_days_ahead)
        if settings.retention_days:
            dropped = partitions.drop_expired(connection, keep_days=settings.retention_days)
    if created or dropped:
        log.info("partitions_changed", created=created, dropped=dropped)


@app.task(name="workers.maintenance.delete_expired")
def delete_expired() -> None:
    """Deletes the records of batches whose receipts have expired, and old deliveries of the webhook."""
    resources = current_resources()
    before = datetime.now(UTC) - timedelta(days=resources.settings.receipt_retention_days)
    with resources.database.connection() as connection:
        for shard in [*range(MAX_SHARDS), DIRECT_SHARD]:
            delete_batches(connection, shard, before)
        delete_old_deliveries(connection)


@app.task(name="workers.maintenance.end_overdue_sessions")
def end_overdue() -> None:
    """Ends charging sessions that are open for longer than SESSION_MAX_DAYS."""
    resources = current_resources()
    longest = timedelta(days=resources.settings.session_max_days)
    with tolerate_outage("sessions_not_ended"), resources.database.connection() as connection:
        ended = end_overdue_sessions(connection, datetime.now(UTC), longest=longest)
        if ended:
            log.info("sessions_ended", sessions=ended, reason="too_long")
