"""Alerts are judged from time to time. Run twice, late, or not at all for a while: no harm."""

from datetime import UTC, datetime

import psycopg
import redis
import structlog
from psycopg_pool import PoolTimeout

from models.alerts import lifecycle as alerts
from models.readings import to_datetime
from models.resources import Connections
from workers.app import app, connections

log = structlog.get_logger()


@app.task(name="workers.alerts.evaluate")
def evaluate() -> None:
    """Opens, keeps and resolves alerts; the webhook is told by workers/webhooks.py."""
    held = connections()
    try:
        stored_until = _stored_until(held)
        with held.database.connection() as connection:
            found = alerts.evaluate(connection, held.settings, stored_until=stored_until)
    except (redis.RedisError, psycopg.Error, PoolTimeout) as error:
        log.warning("alerts_not_judged", error=type(error).__name__, reason=str(error).strip())
        return
    for kind, count in found.items():
        if count.opened or count.resolved:
            log.info("alerts_changed", kind=kind, **count._asdict())


def _stored_until(held: Connections) -> datetime:
    """Everything that was accepted before this moment is in Postgres."""
    now = datetime.now(UTC)
    oldest = [held.stream.oldest(shard) for shard in held.stream.known_shards()]
    return min([now, *(to_datetime(entry.ms * 1000) for entry in oldest if entry)])
