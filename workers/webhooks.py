"""The webhook: tells a receiver that alerts open and are resolved, from the outbox, until it took each event.

Backoff is in the outbox (next_attempt_at) and beat comes again: no task waits. Only one sender runs at a time, so that
a receiver that hangs holds one worker process for a moment, and never the drain.
"""

import hashlib
import hmac
import time
from functools import cache

import msgspec
import psycopg
import structlog
import urllib3
from celery.exceptions import SoftTimeLimitExceeded
from psycopg_pool import PoolTimeout

from models.alerts.deliveries import Delivery, claim_delivery, record_failure, record_success
from models.locks import Lock, try_lock
from models.settings import Settings
from models.version import VERSION
from workers.app import app, current_resources
from workers.metrics import count_delivery

log = structlog.get_logger()

TASK_SECONDS = 20
# The last attempt of a task may begin just before TASK_SECONDS; what drips is cut off here.
TASK_LIMIT_SECONDS = 30
TIMEOUT = urllib3.Timeout(connect=3, read=5)  # seconds


class Refused(Exception):
    """The receiver answered, and not with 2xx."""


class Unreachable(Exception):
    """The receiver did not answer, or says that it can't now: others need not be tried."""


@app.task(name="workers.webhooks.deliver", soft_time_limit=TASK_LIMIT_SECONDS)
def deliver() -> None:
    """Sends what is due, for some seconds, until the receiver fails."""
    resources = current_resources()
    if not resources.settings.alert_webhook_url:
        return
    give_up_at = time.monotonic() + TASK_SECONDS
    try:
        # The lock is held by a transaction of its own: each step of the other is committed at once.
        with (
            resources.database.connection() as guard,
            guard.transaction(),
            resources.database.connection() as connection,
        ):
            is_mine = try_lock(guard, Lock.WEBHOOK)
            while is_mine and time.monotonic() < give_up_at and deliver_next(connection, resources.settings):
                pass
    except (psycopg.Error, PoolTimeout) as error:
        log.warning("webhook_outbox_away", error=type(error).__name__, reason=str(error).strip())


def deliver_next(connection: psycopg.Connection, settings: Settings) -> bool:
    """Sends the event that is due for the longest time; False where none is, or the receiver is out of reach."""
    delivery = claim_delivery(connection)
    if delivery is None:
        return False
    try:
        send(delivery, settings)
    except (Refused, Unreachable, SoftTimeLimitExceeded) as error:
        why = str(error)
        record_failure(connection, delivery, why)
        count_delivery("refused" if isinstance(error, Refused) else "unreachable")
        log.warning("webhook_failed", event_id=str(delivery.event_id), attempts=delivery.attempts, reason=why)
        return isinstance(error, Refused)
    record_success(connection, delivery)
    count_delivery("delivered")
    return True


def send(delivery: Delivery, settings: Settings) -> None:
    """One POST. Raises Refused or Unreachable; the URL, which may hold a secret, is in neither."""
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
        answer = _client().request(
            "POST", settings.alert_webhook_url, body=body, headers=headers, timeout=TIMEOUT,
            retries=False, redirect=False, preload_content=False,
        )  # fmt: skip
    except urllib3.exceptions.HTTPError as error:
        raise Unreachable(_in_words(error)) from None
    answer.close()  # what it says beside the status is not read
    if answer.status >= 500 or answer.status == 429:
        raise Unreachable(f"answered {answer.status}")
    if not 200 <= answer.status < 300:
        raise Refused(f"answered {answer.status}{'; redirects are not followed' if answer.status < 400 else ''}")


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 of `timestamp.body`, in hex."""
    return hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


@cache
def _client() -> urllib3.PoolManager:
    return urllib3.PoolManager(maxsize=1)


def _in_words(error: urllib3.exceptions.HTTPError) -> str:
    # To urllib3 a refused connection is a timeout too.
    is_late = isinstance(error, urllib3.exceptions.TimeoutError)
    if is_late and not isinstance(error, urllib3.exceptions.NewConnectionError):
        return "did not answer in time"
    return f"out of reach ({type(error).__name__})"
