"""Alerts: opened by a rule, acknowledged by a person, resolved by the same rule. At most one of a device and kind is
not resolved; an index holds that, so that two evaluations at a time do no harm.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import dict_row

from models.access.bindings import Binding, bound_to
from models.alerts.deliveries import OPENED, enqueue_deliveries
from models.alerts.rules import (
    BATTERY_TEMPERATURE,
    EFFICIENCY,
    FEW_DEVICES,
    IMPLAUSIBLE,
    RULES,
    SILENT,
    STANDSTILL,
    STANDSTILL_SHARE,
)
from models.locks import Lock, try_lock
from models.settings import DIRECT_SHARD, Settings

KINDS = tuple(RULES)
OPEN, ACKNOWLEDGED, RESOLVED = STATES = ("open", "acknowledged", "resolved")
UNITS = {EFFICIENCY: "%", BATTERY_TEMPERATURE: "°C", SILENT: "s", IMPLAUSIBLE: "readings"}

# What the rule says of alerts that are there, and those that it opens. A person's acknowledgement stays.
_EVALUATE = """
with judged as materialized ({rule}),
changed as (
  update alerts as a
  set state = case when j.verdict = 'good' then 'resolved' else a.state end,
      resolved_at = case when j.verdict = 'good' then %(now)s end,
      last_seen_at = case when j.verdict = 'good' then a.last_seen_at else %(now)s end,
      value = j.value, bound = j.bound, detail = j.detail
  from judged as j
  where a.kind = %(kind)s and a.state <> 'resolved' and (a.device_kind, a.device_id) = (j.device_kind, j.device_id)
  returning a.*
),
opened as (
  insert into alerts (device_kind, device_id, kind, value, bound, detail, opened_at, last_seen_at)
  select device_kind, device_id, %(kind)s, value, bound, detail, %(now)s, %(now)s from judged as j
  where verdict = 'bad' and not exists (
    select from alerts as a
    where a.kind = %(kind)s and a.state <> 'resolved' and (a.device_kind, a.device_id) = (j.device_kind, j.device_id))
  order by device_kind, device_id
  on conflict (device_kind, device_id, kind) where state <> 'resolved' do nothing
  returning *
)
select * from opened union all select * from changed where state = 'resolved' order by id
"""


class Evaluated(NamedTuple):
    opened: int
    resolved: int


def evaluate(
    connection: psycopg.Connection, settings: Settings, *, stored_until: datetime, now: datetime | None = None
) -> dict[str, Evaluated]:
    """Judges every device by every rule; each kind is a transaction, with the events for the webhook in it.

    `stored_until`: everything that was accepted before is in Postgres. Where another evaluation runs, this one does
    nothing. One that dies has done whole kinds; the next does the rest.
    """
    now = now or datetime.now(UTC)
    values = {
        "now": now,
        "heartbeat": settings.heartbeat_seconds,
        "threshold": settings.alert_threshold,
        "hysteresis": settings.alert_hysteresis,
        "min_completeness": settings.alert_min_completeness,
        "min_kwh": settings.alert_min_kwh,
        "battery_temp": settings.alert_battery_temp,
        "silent_seconds": settings.alert_silent_seconds,
        "can_tell_silence": _can_tell_silence(connection, settings, stored_until, now),
    }
    found = {}
    for kind, rule in RULES.items():
        with connection.transaction():
            if not try_lock(connection, Lock.ALERTS):
                break
            cursor = connection.cursor(row_factory=dict_row)
            changes = cursor.execute(_EVALUATE.format(rule=rule), values | {"kind": kind}).fetchall()
            events = [(RESOLVED if alert["state"] == RESOLVED else OPENED, alert) for alert in changes]
            if settings.alert_webhook_url:
                enqueue_deliveries(connection, [(event, alert["id"], shown(alert)) for event, alert in events])
        resolved = sum(event == RESOLVED for event, _ in events)
        found[kind] = Evaluated(len(events) - resolved, resolved)
    return found


def _can_tell_silence(
    connection: psycopg.Connection, settings: Settings, stored_until: datetime, now: datetime
) -> bool:
    """Whether a device that is not heard is silent, or may be waiting behind a standstill of ours."""
    longest = timedelta(seconds=STANDSTILL_SHARE * settings.alert_silent_seconds)
    if stored_until < now - longest:
        return False
    since = now - timedelta(seconds=settings.alert_silent_seconds)
    values = {
        "last_shard": DIRECT_SHARD,
        "since_ms": int(since.timestamp() * 1000),
        "until_ms": int(now.timestamp() * 1000),
    }
    gap_seconds, devices = connection.execute(STANDSTILL, values).fetchone()
    return devices <= FEW_DEVICES or gap_seconds <= longest.total_seconds()


def acknowledge(
    connection: psycopg.Connection, alert_id: int, note: str | None = None, *, at: datetime | None = None
) -> dict | None:
    """Notes that a person knows, and their note where there is one; the alert, None where there is no such alert.

    Acknowledged again only a note changes. One that is resolved stays as it is: see its state.
    """
    with connection.transaction():
        cursor = connection.cursor(row_factory=dict_row)
        cursor.execute(
            """update alerts set state = 'acknowledged', acknowledged_at = coalesce(acknowledged_at, %(at)s),
                 note = coalesce(%(note)s, note)
               where id = %(id)s and state <> 'resolved'""",
            {"id": alert_id, "note": note, "at": at or datetime.now(UTC)},
        )
        return get_alert(connection, alert_id)


def get_alert(connection: psycopg.Connection, alert_id: int) -> dict | None:
    """By primary key; None where there is no such alert."""
    cursor = connection.cursor(row_factory=dict_row)
    return cursor.execute("select * from alerts where id = %s", [alert_id]).fetchone()


def list_alerts(
    connection: psycopg.Connection,
    *,
    limit: int,
    state: str | None = None,
    kind: str | None = None,
    device_id: str | None = None,
    before: int | None = None,
    binding: Binding | None = None,
) -> list[dict]:
    """Up to `limit` alerts, the newest first, from the one before the id `before` on.

    Index: the primary key backwards; alerts_device; alerts_unresolved_by_age for those that are not resolved.
    """
    where, values = bound_to("device_id", binding)
    where.append("true")
    for column, value in (("state", state), ("kind", kind), ("device_id", device_id)):
        if value is not None:
            where.append(f"{column} = %s")
            values.append(value)
    if before is not None:
        where.append("id < %s")
        values.append(before)
    return (
        connection.cursor(row_factory=dict_row)
        .execute(f"select * from alerts where {' and '.join(where)} order by id desc limit %s", [*values, limit])
        .fetchall()
    )


def count_alerts(connection: psycopg.Connection) -> dict[str, int]:
    """How many alerts of each kind are not resolved. Index: alerts_unresolved."""
    found = connection.execute("select kind, count(*) from alerts where state <> 'resolved' group by kind").fetchall()
    return dict.fromkeys(KINDS, 0) | dict(found)


def shown(alert: Mapping[str, Any]) -> dict[str, Any]:
    """An alert as the contract has it, in answers and in what the webhook is told."""
    return {
        "id": alert["id"],
        "kind": alert["kind"],
        "state": alert["state"],
        "deviceKind": alert["device_kind"],
        "deviceId": alert["device_id"],
        "value": round(alert["value"], 4),
        "bound": alert["bound"],
        "unit": UNITS[alert["kind"]],
        "message": _message(alert),
        "detail": alert["detail"],
        "openedAt": alert["opened_at"],
        "lastSeenAt": alert["last_seen_at"],
        "acknowledgedAt": alert["acknowledged_at"],
        "note": alert["note"],
        "resolvedAt": alert["resolved_at"],
    }


def _message(alert: Mapping[str, Any]) -> str:
    """Neutral, so that it is true of an alert that is over as well."""
    value, bound = alert["value"], alert["bound"]
    return {
        EFFICIENCY: lambda: f"Efficiency over the last day: {value:.1f} % (alert below {bound:g} %)",
        BATTERY_TEMPERATURE: lambda: f"Battery temperature: {value:g} °C (alert above {bound:g} °C)",
        SILENT: lambda: f"Last heard {alert['detail']['lastSeen']} (alert after {bound:,.0f} s)",
        IMPLAUSIBLE: lambda: f"Implausible readings in the last day: {value:.0f}",
    }[alert["kind"]]()
