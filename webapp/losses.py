"""Losses: accepted readings that a server has lost. A person acknowledges them."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, g
from marshmallow import fields

from models.access.keys import ADMIN, READ
from models.storage import losses
from models.storage.losses import Loss
from webapp.alerts import AcknowledgementSchema
from webapp.http.answers import Page, SerialId
from webapp.http.errors import not_found
from webapp.http.fields import PageSchema
from webapp.http.operations import Body, operation
from webapp.http.paging import decode_cursor, page
from webapp.http.resources import database

bp = Blueprint("losses", __name__, url_prefix="/v1/losses")


class LossPageSchema(PageSchema):
    acknowledged = fields.Boolean(
        load_default=None,
        truthy={"true"},
        falsy={"false"},
        metadata={"description": "only losses that are acknowledged, or only those that are not"},
    )


class LossPage(Page):
    """A page of losses."""

    items: list[Loss]


@bp.get("")
@operation("Alerts", "List losses, the newest first", scopes=(READ,), all_devices=True, query=LossPageSchema)
def list_losses(query: Mapping[str, Any]) -> LossPage:
    after = decode_cursor(query["cursor"], int)
    with database() as connection:
        found = losses.list_losses(
            connection,
            limit=query["limit"] + 1,
            acknowledged=query["acknowledged"],
            before=after[0] if after else None,
        )
    found, following = page(found, query["limit"], lambda loss: (loss.id,))
    return LossPage(items=found, next=following)


@bp.post("/<loss_id>/acknowledge")
@operation(
    "Alerts",
    "Acknowledge a loss",
    scopes=(ADMIN,),
    all_devices=True,
    errors=(404,),
    body=Body(
        AcknowledgementSchema,
        required=False,
        examples={"note": ("With a note", {"note": "The depots sent Tuesday again"}), "none": ("Without a note", {})},
    ),
    answers={200: "Acknowledged: no longer a warning"},
)
def acknowledge_loss(loss_id: SerialId, body: Mapping[str, Any]) -> Loss:
    """Acknowledged again, the loss stays as it is, except for a given note."""
    by = f"key {g.key_id}" if g.key_id else "without a key"
    with database() as connection:
        loss = losses.acknowledge_loss(connection, loss_id, by=by, note=body["note"])
    if loss is None:
        raise not_found("loss")
    return loss
