"""Keeps the roll-ups up to date. A run that is repeated, late or left out does no harm."""

import time
from datetime import UTC, datetime

import psycopg
import structlog
from kombu.exceptions import OperationalError
from psycopg_pool import PoolTimeout

from models.analytics.rollups.watermark import roll_up_steps
from workers.app import app, current_resources

log = structlog.get_logger()

# The longest run of a task. The next one continues, queued behind the drains.
TICK_SECONDS = 3.0
# A task that waits longer than this is dropped: beat starts the next one.
EXPIRES_SECONDS = 15


@app.task(name="workers.rollups.roll_up")
def roll_up() -> None:
    """Moves the watermark and recomputes stale hours; starts itself again if more is left to do."""
    resources = current_resources()
    give_up_at = time.monotonic() + TICK_SECONDS
    try:
        with resources.database.connection() as connection:
            work = roll_up_steps(
                connection, now=datetime.now(UTC), heartbeat_seconds=resources.settings.heartbeat_seconds
            )
            is_behind = any(time.monotonic() > give_up_at for _ in work)
    except (psycopg.Error, PoolTimeout) as error:
        # Each step is a transaction, so nothing is half done; beat starts the next run.
        log.warning("rollups_failed", error=type(error).__name__, reason=str(error).strip())
        return
    if is_behind:
        try:
            roll_up.apply_async(expires=EXPIRES_SECONDS, retry=False)
        except OperationalError as error:
            log.warning("bell_not_rung", task="roll_up", reason=str(error))
