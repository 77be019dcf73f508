"""What the webhook has yet to be told of alerts: written in the transaction that opens or resolves them, sent after.

An event is sent until it was taken: at least once, more than once where an answer got lost. Of one alert `resolved`
is not sent before `opened` was. Claimed for LEASE, so that two senders do not send the same at a time; a sender that
dies leaves it to the next when that is over.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import msgspec
import psycopg
from psycopg.rows import class_row

OPENED, RESOLVED = "opened", "resolved"

LEASE = timedelta(seconds=60)
FIRST_WAIT = timedelta(seconds=10)  # doubled with each attempt
LONGEST_WAIT = timedelta(hours=1)
# A receiver that was away for longer asks GET /v1/alerts what it has missed.
GIVE_UP_AFTER = timedelta(days=7)
# How long what was sent, or given up, can be looked at.
KEEP = timedelta(days=30)

_WAITING = "{0}.delivered_at is null and {0}.gave_up_at is null"


class Delivery(NamedTuple):
    event_id: UUID
    payload: dict[str, Any]
    attempts: int  # this one included


def enqueue_deliveries(connection: psycopg.Connection, events: Iterable[tuple[str, int, dict]]) -> None:
    """Puts down (event, alert id, alert as shown), to be sent once the caller's transaction is committed."""
    connection.cursor().executemany(
        """insert into alert_deliveries (event_id, alert_id, event, payload) values (%s, %s, %s, %s::jsonb)""",
        [_row(*event) for event in events],
    )


def _row(event: str, alert_id: int, alert: dict) -> tuple:
    event_id = uuid4()
    payload = {"eventId": event_id, "event": event, "alert": alert}
    return event_id, alert_id, event, msgspec.json.encode(payload).decode()


def claim_delivery(connection: psycopg.Connection) -> Delivery | None:
    """The event that is due for the longest time, to be sent within LEASE; None where none is.

    Index: alert_deliveries_waiting; alert_deliveries_alert for the event before.
    """
    return (
        connection.cursor(row_factory=class_row(Delivery))
        .execute(
            f"""update alert_deliveries set attempts = attempts + 1, next_attempt_at = now() + %s
                where event_id = (
                  select event_id from alert_deliveries as due
                  where {_WAITING.format("due")} and next_attempt_at <= now() and not exists (
                    select from alert_deliveries as before
                    where before.alert_id = due.alert_id and before.event < due.event and {_WAITING.format("before")})
                  order by next_attempt_at limit 1 for update skip locked)
                returning event_id, payload, attempts""",
            [LEASE],
        )
        .fetchone()
    )


def record_success(connection: psycopg.Connection, delivery: Delivery) -> None:
    connection.execute(
        "update alert_deliveries set delivered_at = now(), last_error = null where event_id = %s", [delivery.event_id]
    )


def record_failure(connection: psycopg.Connection, delivery: Delivery, why: str) -> None:
    """Has the event wait for its next attempt, or gives it up."""
    wait = min(FIRST_WAIT * 2 ** min(delivery.attempts - 1, 16), LONGEST_WAIT)
    connection.execute(
        """update alert_deliveries
           set last_error = %(why)s, next_attempt_at = now() + %(wait)s,
               gave_up_at = case when created_at < now() - %(give_up_after)s then now() end
           where event_id = %(id)s""",
        {"id": delivery.event_id, "why": why[:500], "wait": wait, "give_up_after": GIVE_UP_AFTER},
    )


def count_deliveries(connection: psycopg.Connection) -> dict[str, int]:
    """Events not sent: `waiting` for their first attempt, `failing` with one or more, `given_up` in the last days."""
    counts = connection.execute(
        f"""select count(*) filter (where attempts = 0), count(*) filter (where attempts > 0),
                   (select count(*) from alert_deliveries where gave_up_at is not null)
            from alert_deliveries as d where {_WAITING.format("d")}"""
    ).fetchone()
    return dict(zip(("waiting", "failing", "given_up"), counts, strict=True))


def delete_old_deliveries(connection: psycopg.Connection) -> int:
    """Removes what was sent or given up long ago."""
    return connection.execute(
        "delete from alert_deliveries where coalesce(delivered_at, gave_up_at) < now() - %s", [KEEP]
    ).rowcount
