"""Alerts are judged from time to time. Run twice, late, or not at all for a while: no harm."""

from datetime import UTC, datetime

import psycopg
import redis
import structlog
from psycopg_pool import PoolTimeout

from models.alerts import evaluation as alerts
from models.readings import to_datetime
from models.resources import Resources
from workers.app import app, current_resources

log = structlog.get_logger()


@app.task(name="workers.alerts.evaluate")
def evaluate() -> None:
    """Opens, keeps and resolves alerts; the webhook is told by workers/webhooks.py."""
    resources = current_resources()
    try:
        stored_until = _stored_until(resources)
        with resources.database.connection() as connection:
            found = alerts.evaluate(connection, resources.settings, stored_until=stored_until)
    except (redis.RedisError, psycopg.Error, PoolTimeout) as error:
        log.warning("alerts_not_judged", error=type(error).__name__, reason=str(error).strip())
        return
    for kind, count in found.items():
        if count.opened or count.resolved:
            log.info("alerts_changed", kind=kind, **count._asdict())


def _stored_until(resources: Resources) -> datetime:
    """Everything that was accepted before this moment is in Postgres."""
    now = datetime.now(UTC)
    oldest = [resources.stream.oldest(shard) for shard in resources.stream.known_shards()]
    return min([now, *(to_datetime(entry.ms * 1000) for entry in oldest if entry)])
