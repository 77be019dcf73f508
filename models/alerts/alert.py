"""Alerts: what the database keeps, the API answers and the webhook sends, as one type; reading and acknowledging."""

from datetime import UTC, datetime
from typing import Annotated, Any

import psycopg
from msgspec import Meta, Struct
from psycopg.rows import args_row
from sqlalchemy import bindparam, func, select, update

from models.access.bindings import Binding, binding_values, within_binding
from models.alerts.rules import BATTERY_TEMPERATURE, EFFICIENCY, IMPLAUSIBLE, IMPLAUSIBLE_EFFICIENCY, KINDS, SILENT
from models.readings import KINDS as DEVICE_KINDS
from models.schema.alerts import alerts
from models.schema.devices import at_site, has_in_id
from models.statements import Statement, run

MAX_NOTE_LENGTH = 1_000
# The device kind and the device of an alert for many devices (models/alerts/groups.py). No device has this id.
FLEET, FLEET_ID = "fleet", "*"
FLEET_UNIT = "devices"
OPEN, ACKNOWLEDGED, RESOLVED = STATES = ("open", "acknowledged", "resolved")

UNITS = {
    EFFICIENCY: "%",
    IMPLAUSIBLE_EFFICIENCY: "%",
    BATTERY_TEMPERATURE: "°C",
    SILENT: "s",
    IMPLAUSIBLE: "readings",
}
# Worded so that they are true of a resolved alert too.
_MESSAGES = {
    EFFICIENCY: "Efficiency over the last day: {value:.1f} % (alert below {bound:g} %)",
    IMPLAUSIBLE_EFFICIENCY: "Efficiency over the last day: {value:.1f} % (alert above {bound:g} %: check mappings and "
    "registers)",
    BATTERY_TEMPERATURE: "Battery temperature: {value:g} °C (alert above {bound:g} °C)",
    SILENT: "Last seen {detail[lastSeen]} (alert after {bound:,.0f} s)",
    IMPLAUSIBLE: "Implausible readings in the last day: {value:.0f}",
}


def _one_of(*names: str) -> dict[str, list[str]]:
    return {"enum": list(names)}


class Alert(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A condition of a device that a person should look at. At most one per device and kind is not resolved."""

    id: Annotated[int, Meta(ge=1, le=2**63 - 1, examples=[17])]
    kind: Annotated[str, Meta(extra_json_schema=_one_of(*KINDS))]
    state: Annotated[
        str,
        Meta(
            description="`acknowledged`: a person knows about it, and it goes on; `resolved`: it is over",
            extra_json_schema=_one_of(*STATES),
        ),
    ]
    device_kind: Annotated[
        str,
        Meta(
            description="`fleet`: one alert for many devices, which came into the condition at the same time",
            extra_json_schema=_one_of(*DEVICE_KINDS, FLEET),
        ),
    ]
    device_id: Annotated[str, Meta(description="`*` for the kind `fleet`", examples=["V001"])]
    value: Annotated[float, Meta(description="by the last evaluation, in `unit`")]
    bound: Annotated[float, Meta(description="what `value` is compared with")]
    unit: Annotated[str, Meta(extra_json_schema=_one_of(*dict.fromkeys(UNITS.values()), FLEET_UNIT))]
    message: Annotated[str, Meta(description="the same in words")]
    detail: Annotated[dict[str, Any], Meta(description="what the value was computed from, by kind: docs/alerts.md")]
    opened_at: Annotated[datetime, Meta(tz=True)]
    last_seen_at: Annotated[datetime, Meta(tz=True, description="of the last evaluation that confirmed it")]
    acknowledged_at: Annotated[datetime, Meta(tz=True)] | None
    note: str | None
    resolved_at: Annotated[datetime, Meta(tz=True)] | None


def _alert(*stored: Any) -> Alert:
    id_, kind, state, device_kind, device_id, value, bound, detail, *rest = stored
    try:
        message = _MESSAGES[kind].format(value=value, bound=bound, detail=detail)
    except (KeyError, TypeError, ValueError):  # of another version: no list fails because of it
        message = kind
    unit = UNITS.get(kind, "")
    if device_kind == FLEET:
        unit = FLEET_UNIT
        message = f"{kind.replace('_', ' ').capitalize()}: {value:,.0f} devices at once"
    return Alert(id_, kind, state, device_kind, device_id, round(value, 4), bound, unit, message, detail, *rest)


# What `alert_row` makes an Alert from, in the order of its fields.
COLUMNS = tuple(alerts.c[name] for name in Alert.__struct_fields__ if name not in ("unit", "message"))
alert_row = args_row(_alert)

_GET = Statement(select(*COLUMNS).where(alerts.c.id == bindparam("id")))
_LIST = Statement(
    select(*COLUMNS).order_by(alerts.c.id.desc()).limit(bindparam("limit")),
    optional=(
        alerts.c.state == bindparam("state"),
        alerts.c.kind == bindparam("kind"),
        alerts.c.device_id == bindparam("device_id"),
        alerts.c.id < bindparam("before"),
        at_site(alerts.c.device_kind, alerts.c.device_id),
        has_in_id(alerts.c.device_id),
        *within_binding(alerts.c.device_id),
    ),
)
_ACKNOWLEDGE = Statement(
    update(alerts)
    .where(alerts.c.id == bindparam("alert_id"), alerts.c.state != RESOLVED)
    .values(
        state=ACKNOWLEDGED,
        acknowledged_at=func.coalesce(alerts.c.acknowledged_at, bindparam("now")),
        note=func.coalesce(bindparam("new_note", type_=alerts.c.note.type), alerts.c.note),
    )
)


def acknowledge_alert(
    connection: psycopg.Connection, alert_id: int, note: str | None = None, *, now: datetime | None = None
) -> Alert | None:
    """Records that a person knows about the alert, and their note if there is one; None if there is no such alert.

    Acknowledged again, only a given note changes. A resolved alert stays as it is: check the state returned.
    """
    values = {"alert_id": alert_id, "new_note": note, "now": now or datetime.now(UTC)}
    with connection.transaction():
        run(connection, _ACKNOWLEDGE, values)
        return get_alert(connection, alert_id)


def get_alert(connection: psycopg.Connection, alert_id: int) -> Alert | None:
    """By primary key."""
    return run(connection, _GET, {"id": alert_id}, row=alert_row).fetchone()


def list_alerts(
    connection: psycopg.Connection,
    *,
    limit: int,
    state: str | None = None,
    kind: str | None = None,
    device_id: str | None = None,
    site: str | None = None,
    search: str | None = None,
    before: int | None = None,
    binding: Binding | None = None,
) -> list[Alert]:
    """Up to `limit` alerts, the newest first, with ids below `before`.

    `site` keeps those of devices with this site in their settings, `search` of those with this text in their ids.
    Index: the primary key backwards; alerts_device; alerts_unresolved_by_age for a state other than resolved.
    """
    values = {"limit": limit, "state": state, "kind": kind, "device_id": device_id, "before": before}
    values |= {"site": site, "search": search}
    return run(connection, _LIST, values | binding_values(binding), row=alert_row).fetchall()
