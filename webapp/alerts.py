"""Alerts: what a person should look at, and that they have."""

from flask import Blueprint, request
from marshmallow import RAISE, Schema, fields, post_load, validate

from models.alerts import alert as alerts
from models.alerts.alert import KINDS, RESOLVED, STATES, Alert
from webapp.http.auth import binding, require_devices
from webapp.http.bodies import read_json
from webapp.http.encoding import json_response
from webapp.http.errors import ApiError
from webapp.http.fields import PageSchema, device_id
from webapp.http.paging import decode_cursor, page
from webapp.http.resources import database

bp = Blueprint("alerts", __name__, url_prefix="/v1/alerts")

MAX_BODY_BYTES = 16 * 1024
MAX_NOTE_LENGTH = 1_000
MAX_ID = 2**63 - 1  # above it there is none; Postgres would call it out of range


class AlertPageSchema(PageSchema):
    state = fields.String(load_default=None, validate=validate.OneOf(STATES))
    kind = fields.String(load_default=None, validate=validate.OneOf(KINDS))
    deviceId = device_id(load_default=None)


class AcknowledgementSchema(Schema):
    """What is to be known of it."""

    class Meta:
        unknown = RAISE  # a note must not get lost for a typo

    note = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Length(1, MAX_NOTE_LENGTH),
        metadata={"description": "for other people; replaces the one before", "example": "Charger is being replaced"},
    )

    @post_load
    def _storable(self, data, **_) -> dict:
        """JSON has characters that Postgres does not: NUL, and halves of others."""
        if data["note"] is not None:
            data["note"] = data["note"].encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
        return data


@bp.get("")
def show_alerts():
    query = AlertPageSchema().load(request.args)
    after = decode_cursor(query["cursor"], int)
    if query["deviceId"] is not None:
        require_devices(query["deviceId"])
    with database() as connection:
        rows = alerts.list_alerts(
            connection,
            limit=query["limit"] + 1,
            state=query["state"],
            kind=query["kind"],
            device_id=query["deviceId"],
            before=after[0] if after else None,
            binding=binding(),
        )
    rows, following = page(rows, query["limit"], lambda alert: (alert.id,))
    return {"items": rows, "next": following}


@bp.get("/<alert_id>")
def show_alert(alert_id: str):
    number = _number(alert_id)
    with database() as connection:
        return json_response(_known(alerts.get_alert(connection, number)))


@bp.post("/<alert_id>/acknowledge")
def acknowledge_alert(alert_id: str):
    number = _number(alert_id)
    has_body = request.content_length or request.headers.get("Transfer-Encoding")
    given = AcknowledgementSchema().load(read_json(request, MAX_BODY_BYTES) if has_body else {})
    with database() as connection:
        _known(alerts.get_alert(connection, number))
        alert = _known(alerts.acknowledge_alert(connection, number, given["note"]))
    if alert.state == RESOLVED:
        raise ApiError(409, "This alert is resolved")
    return json_response(alert)


def _number(alert_id: str) -> int:
    if alert_id.isascii() and alert_id.isdigit() and len(alert_id) <= 19 and int(alert_id) <= MAX_ID:
        return int(alert_id)
    raise _not_found()


def _not_found() -> ApiError:
    return ApiError(404, "Alert not found")


def _known(alert: Alert | None) -> Alert:
    if alert is None:
        raise _not_found()
    require_devices(alert.device_id)
    return alert
