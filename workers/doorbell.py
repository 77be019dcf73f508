"""The doorbell: tells the workers that a shard has something to drain."""

import structlog
from kombu.exceptions import OperationalError

from workers.drain import drain

log = structlog.get_logger()


def ring(shard: int) -> None:
    """Rings once, without waiting for anybody. A bell that can't be rung costs a second: the sweep rings again."""
    try:
        drain.apply_async([shard], retry=False)
    except OperationalError as error:
        log.warning("bell_not_rung", shard=shard, reason=str(error))
