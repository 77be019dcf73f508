"""What is known of a device beside its readings: how it counts, how often it reports, where it stands."""

from flask import Blueprint, request
from marshmallow import RAISE, Schema, ValidationError, fields, post_load, validate

from models.devices.settings import set_device
from models.readings import Kind
from webapp.devices.live import KINDS_IN_PATHS, present_settings
from webapp.http.auth import require_devices
from webapp.http.bodies import read_json
from webapp.http.fields import DEVICE_ID, DEVICE_ID_RULE, Number
from webapp.http.resources import database

bp = Blueprint("device_settings", __name__)

MAX_BODY_BYTES = 16 * 1024
MAX_HEARTBEAT_SECONDS = 86_400
MIN_RATED_POWER_KW, MAX_RATED_POWER_KW = 0.001, 100_000
MAX_NAME_LENGTH = 200


class WholeNumber(fields.Integer):
    """A JSON number without a fraction, 60 or 60.0: no strings, no booleans."""

    def _deserialize(self, value, attr, data, **kwargs) -> int:
        if type(value) not in (int, float) or value != value // 1:
            raise self.make_error("invalid")
        return int(value)


class DeviceSettingsSchema(Schema):
    """What is given is changed, null goes back to the default. An unknown field is refused: a typo changes nothing."""

    class Meta:
        unknown = RAISE

    register = fields.String(
        allow_none=True,
        validate=validate.OneOf(["interval", "cumulative"]),
        metadata={
            "description": "`interval`, the default: a reading is the energy since the last. "
            "`cumulative`: it is what a running counter shows",
            "example": "cumulative",
        },
    )
    heartbeat_seconds = WholeNumber(
        data_key="heartbeatSeconds",
        allow_none=True,
        validate=validate.Range(1, MAX_HEARTBEAT_SECONDS),
        metadata={"description": "one reading is expected in each; null: HEARTBEAT_SECONDS", "example": 60},
    )
    name = fields.String(
        allow_none=True,
        validate=validate.Length(1, MAX_NAME_LENGTH),
        metadata={"description": "for people", "example": "Bay 7"},
    )
    site = fields.String(
        allow_none=True,
        validate=validate.Regexp(DEVICE_ID, error=DEVICE_ID_RULE + "."),
        metadata={"description": "where it stands; a meter's site says its tariff", "example": "depot-north"},
    )
    rated_power_kw = Number(
        data_key="ratedPowerKw",
        allow_none=True,
        validate=validate.Range(MIN_RATED_POWER_KW, MAX_RATED_POWER_KW),
        metadata={
            "description": "more energy than this allows for the time between two readings counts as `implausible`; "
            "null: nothing is judged",
            "example": 22.0,
        },
    )

    @post_load
    def _storable(self, data, **_) -> dict:
        """JSON has characters that Postgres does not: NUL, and halves of others."""
        if data.get("name") is not None:
            data["name"] = data["name"].encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
        return data


def put_settings(kind: Kind, device_id: str):
    if not DEVICE_ID.match(device_id):
        raise ValidationError(DEVICE_ID_RULE + ".", kind.device_field)
    require_devices(device_id)
    given = DeviceSettingsSchema().load(read_json(request, MAX_BODY_BYTES))
    with database() as connection:
        known, is_new = set_device(connection, kind, device_id, given)
    return {kind.device_field: device_id, **present_settings(known)}, 201 if is_new else 200


for _plural, _kind in KINDS_IN_PATHS:
    bp.add_url_rule(
        f"/v1/{_plural}/<device_id>",
        f"put_settings_{_plural}",
        put_settings,
        defaults={"kind": _kind},
        methods=["PUT"],
    )
