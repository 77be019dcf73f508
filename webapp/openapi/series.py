"""What a device did, bucket by bucket."""

from models.analytics.energy.buckets import MAX_BUCKETS, zone_names
from models.readings import KINDS, Kind
from webapp.analytics.series import SeriesSchema
from webapp.devices.live import KINDS_IN_PATHS
from webapp.openapi.answers import answer
from webapp.openapi.components import COUNT, METER_ID, TEXT, TIME, VEHICLE_ID, or_null, record, said, schema
from webapp.openapi.fields import IN_A_QUERY, query_parameters
from webapp.openapi.operations import Operations, in_path, operation

_QUERY = {
    "from": "Start, included. Left out: 24 hours before `to`." + IN_A_QUERY,
    "to": "End, not included. Left out: now." + IN_A_QUERY,
    "bucket": "How long a bucket is: minutes, an hour, a day, an ISO week (from Monday), a month. Days and longer "
    f"follow the calendar of `tz`. A series has at most {MAX_BUCKETS:,} buckets.",
    "tz": "The IANA time zone whose clock the buckets follow. Days have 23 and 25 hours where it is changed.",
}
_ENERGY = {
    "meter": "kWh that the meter counted in the bucket",
    "vehicle": "kWh that reached the battery in the bucket",
}
_DIPS = "; below 0 by what a cumulative register dipped, where the bucket holds the dip alone"
_NUMBER_OR_NULL = {"type": ["number", "null"]}
_AVERAGES = {
    "meter": {"avgVoltage": said(_NUMBER_OR_NULL, "V; null: no reading")},
    "vehicle": {
        "avgBatteryTemp": said(_NUMBER_OR_NULL, "°C; null: no reading"),
        "avgSoc": said(_NUMBER_OR_NULL, "percent, of the readings that told one; null: none did"),
    },
}
_DEVICE_IDS = {"meter": METER_ID, "vehicle": VEHICLE_ID}


def schemas() -> dict[str, dict]:
    found = {}
    for kind in KINDS.values():
        title = kind.name.capitalize()
        found[f"{title}Bucket"] = record("What the device did in [from, to).", _bucket(kind))
        found[f"{title}Series"] = record("The buckets of a window, the empty ones as well.", _series(kind, title))
    return found


def _bucket(kind: Kind) -> dict:
    return {
        "from": said(TIME, "its start or, of the first, that of the window"),
        "to": said(TIME, "the next one's `from`; of the last the end of the window"),
        "energy": {"type": "number", "description": _ENERGY[kind.name] + _DIPS},
        "readings": said(COUNT, "distinct instants at which the device was heard"),
        "completeness": {
            "type": ["number", "null"],
            "minimum": 0,
            "maximum": 1,
            "description": "`readings` of those expected, one in `heartbeatSeconds`; the future is not expected, "
            "null: all of the bucket lies in it",
        },
        "implausible": said(COUNT, "readings whose energy was more than `ratedPowerKw` allows, and is not counted"),
        **_AVERAGES[kind.name],
    }


def _series(kind: Kind, title: str) -> dict:
    return {
        kind.device_field: _DEVICE_IDS[kind.name],
        "window": record("[from, to)", {"from": TIME, "to": TIME}),
        "bucket": TEXT,
        "tz": TEXT,
        "heartbeatSeconds": {"type": "integer", "minimum": 1, "description": "how often the device is to report"},
        "watermark": said(
            or_null(TIME),
            "what was recorded before it was taken from hourly roll-ups, but for what changed since; the numbers are "
            "those of history. Null: all was computed from history",
        ),
        "buckets": {"type": "array", "items": schema(f"{title}Bucket"), "minItems": 1, "maxItems": MAX_BUCKETS},
    }


def operations() -> Operations:
    parameters = query_parameters(SeriesSchema, _QUERY)
    for parameter in parameters:
        if parameter["name"] == "tz":
            parameter["schema"]["enum"] = sorted(zone_names())
    for plural, kind in KINDS_IN_PATHS:
        title = kind.name.capitalize()
        columns = ",".join(_bucket(kind))
        series = {
            "application/json": {"schema": schema(f"{title}Series")},
            "text/csv": {"schema": {"type": "string", "description": f"first the header: `{columns}`"}},
        }
        yield (
            f"/v1/{plural}/{{{kind.device_field}}}/series",
            "get",
            operation(
                "Analytics",
                f"get{title}Series",
                f"Show what a {kind.name} did, bucket by bucket",
                {200: answer("Every bucket of the window", series, ("Content-Disposition",))},
                errors="404 422 503",
                needs=("read",),
                description="The energies of the buckets add up to that of the window. JSON, or CSV with "
                "`Accept: text/csv`.",
                parameters=[in_path(kind.device_field, _DEVICE_IDS[kind.name]), *parameters],
            ),
        )
