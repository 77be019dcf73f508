"""The doorbell: starts a drain of a shard that has entries."""

import redis
import structlog
from kombu.exceptions import OperationalError

from models.causes import log_fields
from workers.app import app

log = structlog.get_logger()


def ring(shard: int) -> None:
    """Rings once and does not wait. A bell that can't be rung costs a second: the sweep rings again."""
    try:
        app.send_task("workers.drain.drain", [shard], retry=False)
    except (OperationalError, redis.RedisError) as error:  # the broker is unavailable, or out of memory
        log.warning("bell_not_rung", shard=shard, **log_fields(error))
