"""Alerts: the conditions of devices that a person should look at. A person acknowledges them."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint
from marshmallow import Schema, fields, validate

from models.access.keys import ADMIN, READ
from models.alerts import alert as alerts
from models.alerts.alert import KINDS, MAX_NOTE_LENGTH, RESOLVED, STATES, Alert
from webapp.http.answers import Page, SerialId
from webapp.http.auth import binding, require_devices
from webapp.http.clock import request_time
from webapp.http.errors import ApiError, not_found
from webapp.http.fields import DevicePageSchema, Text, device_id
from webapp.http.operations import Body, operation
from webapp.http.paging import decode_cursor, page
from webapp.http.resources import database

bp = Blueprint("alerts", __name__, url_prefix="/v1/alerts")


class AlertPageSchema(DevicePageSchema):
    state = fields.String(
        load_default=None, validate=validate.OneOf(STATES), metadata={"description": "only alerts in this state"}
    )
    kind = fields.String(
        load_default=None, validate=validate.OneOf(KINDS), metadata={"description": "only alerts of this kind"}
    )
    device_id = device_id(
        data_key="deviceId", load_default=None, metadata={"description": "only alerts of this device"}
    )


class AcknowledgementSchema(Schema):
    """A person knows about the alert."""

    note = Text(
        load_default=None,
        allow_none=True,
        validate=validate.Length(1, MAX_NOTE_LENGTH),
        metadata={"description": "for other people; replaces the one before", "example": "Charger is being replaced"},
    )


class AlertPage(Page):
    """A page of alerts."""

    items: list[Alert]


@bp.get("")
@operation("Alerts", "List alerts, the newest first", scopes=(READ,), query=AlertPageSchema)
def list_alerts(query: Mapping[str, Any]) -> AlertPage:
    after = decode_cursor(query["cursor"], int)
    if query["device_id"] is not None:
        require_devices(query["device_id"])
    with database() as connection:
        found = alerts.list_alerts(
            connection,
            limit=query["limit"] + 1,
            state=query["state"],
            kind=query["kind"],
            device_id=query["device_id"],
            site=query["site"],
            search=query["search"],
            before=after[0] if after else None,
            binding=binding(),
        )
    found, following = page(found, query["limit"], lambda alert: (alert.id,))
    return AlertPage(items=found, next=following)


@bp.get("/<alert_id>")
@operation("Alerts", "Show an alert", scopes=(READ,), errors=(404,))
def get_alert(alert_id: SerialId) -> Alert:
    with database() as connection:
        return _found(alerts.get_alert(connection, alert_id))


@bp.post("/<alert_id>/acknowledge")
@operation(
    "Alerts",
    "Acknowledge an alert",
    scopes=(ADMIN,),
    errors=(404,),
    body=Body(
        AcknowledgementSchema,
        required=False,
        examples={"note": ("With a note", {"note": "Charger is being replaced"}), "none": ("Without a note", {})},
    ),
    answers={200: "Acknowledged, until it is resolved", 409: "The alert is resolved"},
)
def acknowledge_alert(alert_id: SerialId, body: Mapping[str, Any]) -> Alert:
    """Acknowledged again, the alert stays as it is, except for a given note."""
    with database() as connection:
        _found(alerts.get_alert(connection, alert_id))
        alert = _found(alerts.acknowledge_alert(connection, alert_id, body["note"], now=request_time()))
    if alert.state == RESOLVED:
        raise ApiError(409, "This alert is resolved")
    return alert


def _found(alert: Alert | None) -> Alert:
    """The alert. Raises ApiError 404 if there is none, or if the key is bound to other devices: ids can be guessed."""
    bound = binding()
    if alert is None or (bound and not bound.covers(alert.device_id)):
        raise not_found("alert")
    return alert
