"""The doorbell: starts a drain of a shard that has a backlog."""

import redis
import structlog
from kombu.exceptions import OperationalError

from workers.app import app

log = structlog.get_logger()


def ring(shard: int) -> None:
    """Rings once, without retries. If the broker is unavailable the sweep rings within a second."""
    try:
        app.send_task("workers.drain.drain", [shard], retry=False)
    except (OperationalError, redis.RedisError) as error:  # broker unavailable or out of memory
        log.warning("bell_not_rung", shard=shard, reason=str(error))
