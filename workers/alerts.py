"""Evaluates the alert rules every minute. A run that is repeated, late or left out does no harm."""

from datetime import UTC, datetime

import structlog

from models.alerts.evaluation import evaluate_alerts
from models.readings import to_datetime
from models.resources import Resources
from workers.app import app, current_resources, tolerate_outage

log = structlog.get_logger()


@app.task(name="workers.alerts.evaluate")
def evaluate() -> None:
    """Opens and resolves alerts. workers/webhooks.py sends the deliveries."""
    resources = current_resources()
    with tolerate_outage("alerts_not_evaluated"):
        stored_until = _stored_until(resources)
        with resources.database.connection() as connection:
            changes = evaluate_alerts(connection, resources.settings, stored_until=stored_until)
        for kind, count in changes.items():
            if count.opened or count.resolved:
                log.info("alerts_changed", kind=kind, **count._asdict())


def _stored_until(resources: Resources) -> datetime:
    """A time before which everything accepted is in Postgres."""
    now = datetime.now(UTC)
    oldest = [resources.stream.oldest(shard) for shard in resources.stream.known_shards()]
    return min([now, *(to_datetime(entry.ms * 1000) for entry in oldest if entry)])
