"""Settings of a device: how its register counts, how often it reports, its name, its site and its rated power."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint
from marshmallow import Schema, fields, validate

from models.access.keys import ADMIN
from models.devices.settings import set_device
from models.readings import METER, VEHICLE, Kind
from webapp.devices.answers import DeviceSettings, MeterSettings, VehicleSettings, settings_fields
from webapp.devices.live import TAG
from webapp.http.answers import MeterId, VehicleId
from webapp.http.auth import require_devices
from webapp.http.fields import Number, Text, WholeNumber, device_id
from webapp.http.operations import Body, operation
from webapp.http.resources import database

bp = Blueprint("settings", __name__)

MAX_HEARTBEAT_SECONDS = 86_400
MIN_RATED_POWER_KW, MAX_RATED_POWER_KW = 0.001, 100_000
MAX_NAME_LENGTH = 200


class NewDeviceSettingsSchema(Schema):
    """Fields that are given are changed; null restores the default. An unknown field is refused."""

    register = fields.String(
        allow_none=True,
        validate=validate.OneOf(["interval", "cumulative"]),
        metadata={
            "description": "`interval`, the default: a reading is the energy since the last. "
            "`cumulative`: the value of a running counter",
            "example": "cumulative",
        },
    )
    heartbeat_seconds = WholeNumber(
        data_key="heartbeatSeconds",
        allow_none=True,
        validate=validate.Range(1, MAX_HEARTBEAT_SECONDS),
        metadata={"description": "one reading is expected in each; null: {heartbeat_seconds}", "example": 60},
    )
    name = Text(
        allow_none=True,
        validate=validate.Length(1, MAX_NAME_LENGTH),
        metadata={"description": "for people", "example": "Bay 7"},
    )
    site = device_id(
        allow_none=True,
        metadata={"description": "where it is; the site of a meter determines its tariff", "example": "depot-north"},
    )
    rated_power_kw = Number(
        data_key="ratedPowerKw",
        allow_none=True,
        validate=validate.Range(MIN_RATED_POWER_KW, MAX_RATED_POWER_KW),
        metadata={
            "description": "more energy than this allows for the time between two readings counts as `implausible`; "
            "null: every reading counts",
            "example": 22.0,
        },
    )


_BODY = Body(
    NewDeviceSettingsSchema,
    examples={
        "counter": (
            "A running counter that reports every five minutes",
            {"register": "cumulative", "heartbeatSeconds": 300, "site": "depot-north", "ratedPowerKw": 22},
        ),
        "name": ("Change the name only", {"name": "Bay 7"}),
    },
)
_ANSWERS = {200: "Changed", 201: "Set for the first time"}


@bp.put("/v1/vehicles/<vehicle_id>")
@operation(TAG, "Set how a vehicle counts and reports", scopes=(ADMIN,), body=_BODY, answers=_ANSWERS)
def set_vehicle(vehicle_id: VehicleId, body: Mapping[str, Any]) -> tuple[VehicleSettings, int]:
    """Settings hold for all times: stored readings count by them as well. The vehicle need not have reported yet."""
    return _set(VEHICLE, vehicle_id, body, VehicleSettings)


@bp.put("/v1/meters/<meter_id>")
@operation(TAG, "Set how a meter counts and reports, and its site", scopes=(ADMIN,), body=_BODY, answers=_ANSWERS)
def set_meter(meter_id: MeterId, body: Mapping[str, Any]) -> tuple[MeterSettings, int]:
    """Settings hold for all times: stored readings count by them as well. The meter need not have reported yet."""
    return _set(METER, meter_id, body, MeterSettings)


def _set(kind: Kind, device_id: str, given: Mapping[str, Any], shape: type[DeviceSettings]) -> tuple[Any, int]:
    require_devices(device_id)
    with database() as connection:
        device, is_new = set_device(connection, kind, device_id, given)
    return shape(**{**settings_fields(device), kind.device_column: device_id}), 201 if is_new else 200
