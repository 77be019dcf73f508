"""Webhook deliveries: stored in the transaction that opens or resolves an alert; workers/webhooks.py sends them.

A delivery is sent until the receiver accepts it: at least once, and again if the receiver's answer was lost. Of one
alert, `resolved` is not sent before `opened`. A sender claims a delivery for LEASE, so that two senders do not send
the same one at once; if it ends without a result, another claims the delivery after that.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
from psycopg.rows import class_row
from sqlalchemy import Interval, bindparam, case, delete, func, insert, update

from models.alerts.alert import RESOLVED, Alert
from models.schema.alerts import alert_deliveries
from models.statements import Statement, run, run_many

OPENED = "opened"
LEASE = timedelta(seconds=60)
FIRST_WAIT = timedelta(seconds=10)  # doubled with each attempt
LONGEST_WAIT = timedelta(hours=1)
# A receiver that was unavailable for longer reads GET /v1/alerts to catch up.
GIVE_UP_AFTER = timedelta(days=7)
# Deliveries stay in the table for this long after they were sent or given up.
KEEP = timedelta(days=30)

_MAX_ERROR_LENGTH = 500
_PENDING = "{0}.delivered_at is null and {0}.gave_up_at is null"


class Event(msgspec.Struct, rename="camel"):
    """The body of the POST."""

    event_id: UUID
    event: str  # `opened` or `resolved`
    alert: Alert


class Delivery(msgspec.Struct, frozen=True):
    event_id: UUID
    payload: dict[str, Any]  # an Event
    attempts: int  # this one included


_DELIVERY = class_row(Delivery)
_THIS = alert_deliveries.c.event_id == bindparam("this")
_INSERT = Statement(
    insert(alert_deliveries).values({name: bindparam(name) for name in ("event_id", "alert_id", "event", "payload")})
)
_DELIVERED = Statement(update(alert_deliveries).where(_THIS).values(delivered_at=func.now(), last_error=None))
_FAILED = Statement(
    update(alert_deliveries)
    .where(_THIS)
    .values(
        last_error=bindparam("reason"),
        next_attempt_at=func.now() + bindparam("wait", type_=Interval),
        gave_up_at=case((alert_deliveries.c.created_at < func.now() - GIVE_UP_AFTER, func.now())),
    )
)
_DELETE_OLD = Statement(
    delete(alert_deliveries).where(
        func.coalesce(alert_deliveries.c.delivered_at, alert_deliveries.c.gave_up_at) < func.now() - KEEP
    )
)


def enqueue_deliveries(connection: psycopg.Connection, alerts: Iterable[Alert]) -> None:
    """Stores a delivery for each alert, which has just opened or been resolved, in the caller's transaction."""
    events = [Event(uuid4(), RESOLVED if alert.state == RESOLVED else OPENED, alert) for alert in alerts]
    rows = (
        {"event_id": e.event_id, "alert_id": e.alert.id, "event": e.event, "payload": msgspec.json.encode(e).decode()}
        for e in events
    )
    run_many(connection, _INSERT, rows)


def claim_delivery(connection: psycopg.Connection) -> Delivery | None:
    """The delivery that is overdue the longest, to be sent within LEASE; None if none is due.

    Index: alert_deliveries_waiting; alert_deliveries_alert for the earlier event of the alert.
    """
    cursor = connection.cursor(row_factory=_DELIVERY).execute(
        f"""update alert_deliveries set attempts = attempts + 1, next_attempt_at = now() + %s
            where event_id = (
              select event_id from alert_deliveries as due
              where {_PENDING.format("due")} and next_attempt_at <= now() and not exists (
                select from alert_deliveries as before
                where before.alert_id = due.alert_id and before.event < due.event and {_PENDING.format("before")})
              order by next_attempt_at limit 1 for update skip locked)
            returning event_id, payload, attempts""",
        [LEASE],
    )
    return cursor.fetchone()


def record_success(connection: psycopg.Connection, delivery: Delivery) -> None:
    run(connection, _DELIVERED, {"this": delivery.event_id})


def record_failure(connection: psycopg.Connection, delivery: Delivery, reason: str) -> None:
    """Schedules the next attempt, or gives the delivery up."""
    wait = min(FIRST_WAIT * 2 ** min(delivery.attempts - 1, 16), LONGEST_WAIT)
    run(connection, _FAILED, {"this": delivery.event_id, "reason": reason[:_MAX_ERROR_LENGTH], "wait": wait})


def delete_old_deliveries(connection: psycopg.Connection) -> int:
    """Deletes deliveries that were sent or given up longer than KEEP ago; returns how many."""
    return run(connection, _DELETE_OLD).rowcount
