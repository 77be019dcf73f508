"""The roll-ups are brought up to date from time to time. Run twice, late, or not at all for a while: no harm."""

import time
from datetime import UTC, datetime

import psycopg
import structlog
from kombu.exceptions import OperationalError
from psycopg_pool import PoolTimeout

from models.analytics.rollups.watermark import roll_up_steps
from workers.app import app, current_resources

log = structlog.get_logger()

# How long one tick may work. What is left is for the next, which waits its turn behind the drains that rang.
TICK_SECONDS = 3.0
# A tick that waits for longer than this is superseded: beat asks again.
EXPIRES_SECONDS = 15


@app.task(name="workers.rollups.roll_up")
def roll_up() -> None:
    """Moves the watermark on and works off marks; where there is more to do, it rings for itself."""
    resources = current_resources()
    give_up_at = time.monotonic() + TICK_SECONDS
    try:
        with resources.database.connection() as connection:
            work = roll_up_steps(
                connection, now=datetime.now(UTC), heartbeat_seconds=resources.settings.heartbeat_seconds
            )
            is_behind = any(time.monotonic() > give_up_at for _ in work)
    except (psycopg.Error, PoolTimeout) as error:
        # A step is a transaction: what it had begun is as it was, and beat asks again.
        log.warning("rollups_failed", error=type(error).__name__, reason=str(error).strip())
        return
    if is_behind:
        try:
            roll_up.apply_async(expires=EXPIRES_SECONDS, retry=False)
        except OperationalError as error:
            log.warning("bell_not_rung", task="roll_up", reason=str(error))
