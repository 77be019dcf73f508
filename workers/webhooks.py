"""Sends webhook deliveries: each event of an alert until the receiver accepts it.

The next attempt is scheduled in the database (next_attempt_at) and beat starts the task again, so no task waits. Only
one sender runs at a time: a receiver that hangs or drips occupies one worker process for some seconds. The drain waits
for it only if there is no other process.
"""

import hashlib
import hmac
import time
from http.client import HTTPException

import msgspec
import psycopg
import structlog
from celery.exceptions import SoftTimeLimitExceeded

from models.alerts.deliveries import Delivery, claim_delivery, record_failure, record_success
from models.locks import Lock, try_lock
from models.settings import Settings
from models.version import VERSION
from workers.app import app, current_resources, tolerate_outage
from workers.exchange import post
from workers.metrics import count_delivery

log = structlog.get_logger()

TASK_SECONDS = 20
# The last attempt of a task may begin just before TASK_SECONDS; a receiver that answers slowly is cut off here.
TASK_LIMIT_SECONDS = 30


class Refused(Exception):
    """The receiver answered with a status other than 2xx, 429 and 5xx: only this delivery fails."""


class Unreachable(Exception):
    """The receiver did not answer, or answered 429 or 5xx: other deliveries would fail as well."""


@app.task(name="workers.webhooks.deliver", soft_time_limit=TASK_LIMIT_SECONDS)
def deliver() -> None:
    """Sends the deliveries that are due, for TASK_SECONDS at most, until the receiver is unreachable."""
    resources = current_resources()
    if not resources.settings.alert_webhook_url:
        return
    give_up_at = time.monotonic() + TASK_SECONDS
    # A transaction of its own holds the lock, so that the other connection commits each step at once.
    with (
        tolerate_outage("webhook_database_unavailable"),
        resources.database.connection() as guard,
        guard.transaction(),
        resources.database.connection() as connection,
    ):
        is_mine = try_lock(guard, Lock.WEBHOOK)
        while is_mine and time.monotonic() < give_up_at and deliver_next(connection, resources.settings):
            pass


def deliver_next(connection: psycopg.Connection, settings: Settings) -> bool:
    """Sends the delivery that is overdue the longest; False if none is due or the receiver is unreachable."""
    delivery = claim_delivery(connection)
    if delivery is None:
        return False
    try:
        send(delivery, settings)
    except (Refused, Unreachable, SoftTimeLimitExceeded) as error:
        reason = str(error)
        record_failure(connection, delivery, reason)
        count_delivery("refused" if isinstance(error, Refused) else "unreachable")
        log.warning("webhook_failed", event_id=str(delivery.event_id), attempts=delivery.attempts, reason=reason)
        return isinstance(error, Refused)
    record_success(connection, delivery)
    count_delivery("delivered")
    return True


def send(delivery: Delivery, settings: Settings) -> None:
    """One POST. Raises Refused or Unreachable; their texts never hold the URL, which may contain a secret."""
    body = msgspec.json.encode(delivery.payload)
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"energy-ingestion-engine/{VERSION}",
        "X-Event-Id": str(delivery.event_id),
        "X-Timestamp": timestamp,
        "X-Signature": f"sha256={sign(settings.alert_webhook_secret, timestamp, body)}",
    }
    try:
        status = post(settings.alert_webhook_url, body, headers)
    except TimeoutError:
        raise Unreachable("did not answer in time") from None
    except (OSError, HTTPException, UnicodeError) as error:
        raise Unreachable(f"unreachable ({type(error).__name__})") from None
    if status >= 500 or status == 429:
        raise Unreachable(f"answered {status}")
    if not 200 <= status < 300:
        raise Refused(f"answered {status}{'; redirects are not followed' if status < 400 else ''}")


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 of `timestamp.body`, in hex."""
    return hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
