"""The doorbell: starts a drain of a shard that has entries."""

import redis
from kombu.exceptions import OperationalError

from models.observability.outages import warn_of_outage
from workers.app import app


def ring(shard: int) -> None:
    """Rings once and does not wait. A bell that can't be rung costs a second: the sweep rings again."""
    try:
        app.send_task("workers.drain.drain", [shard], retry=False)
    except (OperationalError, redis.RedisError) as error:  # the broker is unavailable, or out of memory
        warn_of_outage("bell_not_rung", error, shard=shard)
