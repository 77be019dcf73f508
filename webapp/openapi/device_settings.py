"""What is known of a device beside its readings."""

from webapp.devices.live import KINDS_IN_PATHS
from webapp.devices.settings import MAX_BODY_BYTES, DeviceSettingsSchema
from webapp.openapi.answers import answer
from webapp.openapi.components import DEVICE_SETTINGS, METER_ID, VEHICLE_ID, record, schema
from webapp.openapi.fields import object_schema
from webapp.openapi.operations import Operations, in_path, operation

_IDS = {"meter": METER_ID, "vehicle": VEHICLE_ID}
_EXAMPLES = {
    "counter": {
        "summary": "A running counter that reports every five minutes",
        "value": {"register": "cumulative", "heartbeatSeconds": 300, "site": "depot-north", "ratedPowerKw": 22},
    },
    "name": {"summary": "Change the name only", "value": {"name": "Bay 7"}},
}


def schemas() -> dict[str, dict]:
    return {
        "NewDeviceSettings": {**object_schema(DeviceSettingsSchema), "additionalProperties": False},
        **{
            f"{kind.name.capitalize()}Settings": record(
                f"What is known of a {kind.name}.", {kind.device_field: _IDS[kind.name], **DEVICE_SETTINGS}
            )
            for _, kind in KINDS_IN_PATHS
        },
    }


def operations() -> Operations:
    for plural, kind in KINDS_IN_PATHS:
        title = kind.name.capitalize()
        yield (
            f"/v1/{plural}/{{{kind.device_field}}}",
            "put",
            operation(
                "Live state",
                f"put{title}",
                f"Say how a {kind.name} counts, reports, and where it stands",
                {
                    200: answer("As it now is", schema(f"{title}Settings")),
                    201: answer("The first that is said of it", schema(f"{title}Settings")),
                },
                errors="400 413 415 422 503",
                needs=("admin",),
                description="What is given is changed and holds for all times: stored readings count by it as well. "
                "Null goes back to the default. The device need not have been heard yet. An unknown field is refused. "
                f"At most {MAX_BODY_BYTES} bytes.",
                parameters=[in_path(kind.device_field, _IDS[kind.name])],
                requestBody={
                    "required": True,
                    "content": {"application/json": {"schema": schema("NewDeviceSettings"), "examples": _EXAMPLES}},
                },
            ),
        )
