"""Evaluation of the alert rules: opens and resolves alerts.

At most one alert per device and kind is not resolved. A unique index holds that, so two evaluations at once do no harm.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg
import structlog
from psycopg.rows import args_row

from models.alerts.alert import COLUMNS, RESOLVED, Alert, alert_row
from models.alerts.deliveries import enqueue_deliveries
from models.alerts.groups import update_group
from models.alerts.rules import FEW_DEVICES, RULES, STANDSTILL, STANDSTILL_SHARE
from models.causes import log_fields
from models.locks import Lock, try_lock
from models.settings import DIRECT_SHARD, Settings
from models.sql import one, read_sql, with_pieces

_EVALUATE = read_sql(__file__, "evaluate")
_COLUMNS = ", ".join(column.name for column in COLUMNS)

log = structlog.get_logger()


class Changes(NamedTuple):
    """How many alerts of one kind an evaluation opened and resolved."""

    opened: int
    resolved: int


def evaluate_alerts(
    connection: psycopg.Connection, settings: Settings, *, stored_until: datetime, now: datetime | None = None
) -> dict[str, Changes]:
    """Evaluates every rule for every device; returns the changes by kind.

    Each kind is one transaction, which also stores the webhook's deliveries. `stored_until`: everything accepted
    before that time is in Postgres. Does nothing while another evaluation runs. One that is interrupted has finished
    whole kinds; the next does the rest. A kind that fails is logged, and the others are evaluated.
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
        "max_opened": settings.alert_max_opened,
        "can_tell_silence": _is_ingest_steady(connection, settings, stored_until, now),
    }
    changes = {}
    for kind in RULES:
        try:
            changed = _evaluate_kind(connection, kind, values, has_webhook=bool(settings.alert_webhook_url))
        except psycopg.Error as error:
            if connection.closed:
                raise
            log.error("alert_kind_not_evaluated", kind=kind, **log_fields(error))
            continue
        if changed is None:
            break
        resolved = sum(alert.state == RESOLVED for alert in changed)
        changes[kind] = Changes(len(changed) - resolved, resolved)
    return changes


def _evaluate_kind(
    connection: psycopg.Connection, kind: str, values: dict[str, Any], *, has_webhook: bool
) -> list[Alert] | None:
    """The alerts that were opened or resolved; None if another evaluation runs."""
    with connection.transaction():
        if not try_lock(connection, Lock.ALERTS):
            return None
        cursor = connection.cursor(row_factory=alert_row)
        statement = with_pieces(_EVALUATE, rule=RULES[kind], columns=_COLUMNS)
        changed = cursor.execute(statement, {**values, "kind": kind}).fetchall()
        changed += update_group(connection, kind, values["max_opened"], values["now"])
        if has_webhook:
            enqueue_deliveries(connection, changed)
    return changed


class _Standstill(NamedTuple):
    gap_seconds: float
    devices: int


def _is_ingest_steady(
    connection: psycopg.Connection, settings: Settings, stored_until: datetime, now: datetime
) -> bool:
    """Whether a device without readings is silent; otherwise they may be waiting behind a standstill of ingest."""
    longest = timedelta(seconds=STANDSTILL_SHARE * settings.alert_silent_seconds)
    if stored_until < now - longest:
        return False
    since = now - timedelta(seconds=settings.alert_silent_seconds)
    values = {
        "last_shard": DIRECT_SHARD,
        "since_ms": int(since.timestamp() * 1000),
        "until_ms": int(now.timestamp() * 1000),
        "device_limit": FEW_DEVICES + 1,
    }
    standstill = one(connection.cursor(row_factory=args_row(_Standstill)).execute(STANDSTILL, values))
    return standstill.devices <= FEW_DEVICES or standstill.gap_seconds <= longest.total_seconds()
