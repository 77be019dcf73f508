"""Which meter feeds which vehicle, and when."""

from collections import abc
from datetime import datetime
from typing import Annotated, Any

from flask import Blueprint
from marshmallow import EXCLUDE, Schema, ValidationError, validates_schema
from msgspec import Meta, field

from models.access.keys import ADMIN, READ
from models.devices import mapping
from webapp.http.answers import JsonObject, MeterId, Page, Time, VehicleId
from webapp.http.auth import binding, require_devices
from webapp.http.clock import request_time
from webapp.http.errors import ApiError
from webapp.http.fields import PageSchema, Timestamp, device_id
from webapp.http.operations import Body, operation
from webapp.http.paging import decode_cursor, page
from webapp.http.resources import database

bp = Blueprint("mapping", __name__, url_prefix="/v1/analytics/vehicle-mapping")


class MappingPairSchema(Schema):
    class Meta:
        unknown = EXCLUDE

    vehicleId = device_id(required=True, metadata={"example": "V001"})
    meterId = device_id(required=True, metadata={"example": "M001"})


class NewMappingSchema(MappingPairSchema):
    """The meter that feeds a vehicle's charger in [from, to)."""

    valid_from = Timestamp(
        data_key="from",
        allow_none=True,
        load_default=None,
        metadata={
            "description": "left out: the open mapping of the pair, if it has one; else always, if the pair was never "
            "mapped; else now. To map an earlier time of such a pair, send its `from`"
        },
    )
    valid_to = Timestamp(
        data_key="to", allow_none=True, load_default=None, metadata={"description": "left out: until it is ended"}
    )

    @validates_schema
    def _in_order(self, data, **_) -> None:
        if data["valid_from"] and data["valid_to"] and data["valid_from"] >= data["valid_to"]:
            raise ValidationError("Must be after `from`.", "to")


class MappingPageSchema(PageSchema):
    vehicleId = device_id(load_default=None, metadata={"description": "only mappings of this vehicle"})


class Mapping(JsonObject):
    """The meter feeds the vehicle's charger in [from, to)."""

    vehicle_id: VehicleId
    meter_id: MeterId
    valid_from: Annotated[Time | None, Meta(description="null: always")] = field(name="from")
    valid_to: Annotated[Time | None, Meta(description="null: until it is ended")] = field(name="to")


class MappingPage(Page):
    """A page of mappings."""

    items: list[Mapping]


class EndedMappings(JsonObject):
    """The mappings that were ended, and those that were removed because they had not begun."""

    items: Annotated[
        list[Mapping],
        Meta(
            min_length=1,
            description="as they are now; one whose `from` is in the future no longer exists, and is shown as it was",
        ),
    ]


_PAIR = {"vehicleId": "V001", "meterId": "M001"}


@bp.post("")
@operation(
    "Mapping",
    "Map a vehicle to the meter that feeds it",
    scopes=(ADMIN,),
    body=Body(
        NewMappingSchema,
        examples={
            "always": ("Always", _PAIR),
            "while": ("For a while", _PAIR | {"from": "2026-02-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"}),
        },
    ),
    answers={201: "Created", 200: "The mapping exists; its `to` is now the one given"},
)
def map_vehicle(body: abc.Mapping[str, Any]) -> tuple[Mapping, int]:
    """Vehicle, meter and `from` identify a mapping. `to` must be after `from`."""
    require_devices(body["vehicleId"], body["meterId"])
    with database() as connection:
        try:
            row, is_new = mapping.map_vehicle(
                connection, body["vehicleId"], body["meterId"], body["valid_from"], body["valid_to"]
            )
        except mapping.EndsTooEarly:
            raise ValidationError("Must be after `from`, and that of the open mapping.", "to") from None
    return _present(row), 201 if is_new else 200


@bp.get("")
@operation("Mapping", "List mappings, of one vehicle or of all", scopes=(READ,), query=MappingPageSchema)
def list_mappings(query: abc.Mapping[str, Any]) -> MappingPage:
    after = decode_cursor(query["cursor"], str, str, datetime | None)
    if query["vehicleId"] is not None:
        require_devices(query["vehicleId"])
    with database() as connection:
        rows = mapping.list_mappings(
            connection, query["vehicleId"], after=after, limit=query["limit"] + 1, binding=binding()
        )
    rows, following = page(rows, query["limit"], lambda row: (row.vehicle_id, row.meter_id, row.valid_from))
    return MappingPage(items=[_present(row) for row in rows], next=following)


@bp.delete("")
@operation(
    "Mapping",
    "End a mapping now",
    scopes=(ADMIN,),
    query=MappingPairSchema,
    errors=(404,),
    answers={200: "Ended; what the meter fed until now still counts. A mapping that starts in the future is removed"},
)
def end_mapping(query: abc.Mapping[str, Any]) -> EndedMappings:
    require_devices(query["vehicleId"], query["meterId"])
    with database() as connection:
        ended = mapping.end_mapping(connection, query["vehicleId"], query["meterId"], request_time())
    if not ended:
        raise ApiError(404, "No such mapping is open")
    return EndedMappings(items=[_present(row) for row in ended])


def _present(row: mapping.Mapping) -> Mapping:
    return Mapping(vehicle_id=row.vehicle_id, meter_id=row.meter_id, valid_from=row.valid_from, valid_to=row.valid_to)
