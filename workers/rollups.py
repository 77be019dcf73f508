"""Brings the roll-ups up to date. A run that is repeated, late or left out for a while does no harm."""

import time
from datetime import UTC, datetime

from kombu.exceptions import OperationalError

from models.analytics.rollups.watermark import roll_up_steps
from models.observability.outages import warn_of_outage
from workers.app import app, current_resources, tolerate_outage

# How long one run may work. The rest is for the next run, which waits behind the drains that have been rung.
RUN_SECONDS = 3.0
# A run that waits longer than this is dropped: beat has started another one.
EXPIRES_SECONDS = 15


@app.task(name="workers.rollups.roll_up")
def roll_up() -> None:
    """Moves the watermark and processes stale marks; starts itself again if more is left."""
    resources = current_resources()
    give_up_at = time.monotonic() + RUN_SECONDS
    is_behind = False
    with tolerate_outage("rollups_failed"), resources.database.connection() as connection:
        steps = roll_up_steps(connection, now=datetime.now(UTC), heartbeat_seconds=resources.settings.heartbeat_seconds)
        is_behind = any(time.monotonic() > give_up_at for _ in steps)
    if is_behind:
        try:
            roll_up.apply_async(expires=EXPIRES_SECONDS, retry=False)
        except OperationalError as error:
            warn_of_outage("bell_not_rung", error, task="roll_up")
