"""Which meter feeds which vehicle."""

from datetime import datetime

from flask import Blueprint, request
from marshmallow import EXCLUDE, Schema, ValidationError, validates_schema

from models.devices.mapping import EndsTooEarly, Mapping, end_mapping, list_mappings, map_vehicle
from webapp.http.auth import binding, require_devices
from webapp.http.bodies import read_json
from webapp.http.clock import request_time
from webapp.http.errors import ApiError
from webapp.http.fields import PageSchema, QuerySchema, Timestamp, device_id
from webapp.http.paging import decode_cursor, page
from webapp.http.resources import database

bp = Blueprint("mapping", __name__, url_prefix="/v1/analytics/vehicle-mapping")

MAX_BODY_BYTES = 16 * 1024


class MappingSchema(Schema):
    """The meter that feeds a vehicle's charger in [from, to)."""

    class Meta:
        unknown = EXCLUDE

    vehicleId = device_id(required=True, metadata={"example": "V001"})
    meterId = device_id(required=True, metadata={"example": "M001"})
    valid_from = Timestamp(
        data_key="from", allow_none=True, load_default=None, metadata={"description": "left out: always"}
    )
    valid_to = Timestamp(
        data_key="to", allow_none=True, load_default=None, metadata={"description": "left out: until told otherwise"}
    )

    @validates_schema
    def _in_order(self, data, **_) -> None:
        if data["valid_from"] and data["valid_to"] and data["valid_from"] >= data["valid_to"]:
            raise ValidationError("Must be after `from`.", "to")


class MappingPageSchema(PageSchema):
    vehicleId = device_id(load_default=None)


class MappingPairSchema(QuerySchema):
    vehicleId = device_id(required=True)
    meterId = device_id(required=True)


@bp.post("")
def create_mapping():
    mapping = MappingSchema().load(read_json(request, MAX_BODY_BYTES))
    require_devices(mapping["vehicleId"], mapping["meterId"])
    with database() as connection:
        try:
            row, is_new = map_vehicle(
                connection, mapping["vehicleId"], mapping["meterId"], mapping["valid_from"], mapping["valid_to"]
            )
        except EndsTooEarly:
            raise ValidationError("Must be after `from`, and that of the open mapping.", "to") from None
    return _present(row), 201 if is_new else 200


@bp.get("")
def show_mappings():
    query = MappingPageSchema().load(request.args)
    after = decode_cursor(query["cursor"], str, str, datetime | None)
    if query["vehicleId"] is not None:
        require_devices(query["vehicleId"])
    with database() as connection:
        rows = list_mappings(connection, query["vehicleId"], after=after, limit=query["limit"] + 1, binding=binding())
    rows, following = page(rows, query["limit"], lambda row: (row.vehicle_id, row.meter_id, row.valid_from))
    return {"items": [_present(row) for row in rows], "next": following}


@bp.delete("")
def delete_mapping():
    pair = MappingPairSchema().load(request.args)
    require_devices(pair["vehicleId"], pair["meterId"])
    with database() as connection:
        ended = end_mapping(connection, pair["vehicleId"], pair["meterId"], request_time())
    if not ended:
        raise ApiError(404, "No such mapping is open")
    return {"items": [_present(row) for row in ended]}


def _present(mapping: Mapping) -> dict:
    return {
        "vehicleId": mapping.vehicle_id,
        "meterId": mapping.meter_id,
        "from": mapping.valid_from,
        "to": mapping.valid_to,
    }
