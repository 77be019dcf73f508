"""Live state: the newest reading of each device, with its settings."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import psycopg
from flask import Blueprint
from marshmallow import fields

from models.access.keys import READ
from models.devices.mapping import get_feeding_meters
from models.devices.settings import get_devices
from models.readings import METER, VEHICLE, Kind
from models.storage.stored_readings import StoredReading, get_live, list_live
from webapp.devices.answers import (
    LiveMeter,
    LiveMeterPage,
    LiveVehicle,
    LiveVehiclePage,
    reading_fields,
    settings_fields,
)
from webapp.http.answers import MeterId, Page, VehicleId
from webapp.http.auth import binding, require_devices
from webapp.http.clock import request_time
from webapp.http.errors import not_found
from webapp.http.fields import DevicePageSchema
from webapp.http.operations import operation
from webapp.http.paging import decode_cursor, page
from webapp.http.resources import current_resources, database

bp = Blueprint("live", __name__)

TAG = "Live state"


class LivePageSchema(DevicePageSchema):
    online = fields.Boolean(
        load_default=None,
        truthy={"true", "1"},
        falsy={"false", "0"},
        metadata={"description": "only devices that are online (true), or only the others (false)"},
    )


@bp.get("/v1/vehicles")
@operation(TAG, "List the vehicles that ever reported, by id", scopes=(READ,), query=LivePageSchema)
def list_vehicles(query: Mapping[str, Any]) -> LiveVehiclePage:
    return _list(VEHICLE, query, LiveVehiclePage)


@bp.get("/v1/vehicles/<vehicle_id>")
@operation(TAG, "Show a vehicle's newest reading and its settings", scopes=(READ,), errors=(404,))
def get_vehicle(vehicle_id: VehicleId) -> LiveVehicle:
    return _get(VEHICLE, vehicle_id)


@bp.get("/v1/meters")
@operation(TAG, "List the meters that ever reported, by id", scopes=(READ,), query=LivePageSchema)
def list_meters(query: Mapping[str, Any]) -> LiveMeterPage:
    return _list(METER, query, LiveMeterPage)


@bp.get("/v1/meters/<meter_id>")
@operation(TAG, "Show a meter's newest reading and its settings", scopes=(READ,), errors=(404,))
def get_meter(meter_id: MeterId) -> LiveMeter:
    return _get(METER, meter_id)


def require_live(connection: psycopg.Connection, kind: Kind, device_id: str) -> StoredReading:
    """The device's newest reading. Raises ApiError 403 if the key is bound to others, 404 if it never reported."""
    require_devices(device_id)
    row = get_live(connection, kind, device_id)
    if row is None:
        raise not_found(kind.name)
    return row


def _get(kind: Kind, device_id: str) -> Any:
    with database() as connection:
        return _present(connection, kind, [require_live(connection, kind, device_id)])[0]


def _list(kind: Kind, query: Mapping[str, Any], shape: type[Page]) -> Any:
    after = decode_cursor(query["cursor"], str)
    since = _online_since()
    with database() as connection:
        rows = list_live(
            connection,
            kind,
            after=after[0] if after else "",
            limit=query["limit"] + 1,
            binding=binding(),
            seen_since=since if query["online"] is True else None,
            silent_since=since if query["online"] is False else None,
            site=query["site"],
            search=query["search"],
        )
        rows, following = page(rows, query["limit"], lambda row: (row.device_id,))
        return shape(items=_present(connection, kind, rows), next=following)


def _present(connection: psycopg.Connection, kind: Kind, rows: list[StoredReading]) -> list[Any]:
    """A LiveMeter or LiveVehicle for each row."""
    ids = [row.device_id for row in rows]
    settings = get_devices(connection, kind, ids)
    since = _online_since()
    live = [
        {
            **reading_fields(kind, row),
            **settings_fields(settings[row.device_id]),
            "last_seen": row.recorded_at,
            "online": row.recorded_at >= since,
        }
        for row in rows
    ]
    if kind is METER:
        return [LiveMeter(**each) for each in live]
    meters = get_feeding_meters(connection, ids, request_time())
    return [LiveVehicle(**each, meters=meters.get(each["vehicle_id"], [])) for each in live]


def _online_since() -> datetime:
    return request_time() - timedelta(seconds=current_resources().settings.offline_after_seconds)
