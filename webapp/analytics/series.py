"""Series: energy and averages of one device over time, bucket by bucket, for charts."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from flask import Blueprint, Response
from marshmallow import ValidationError, fields, validate
from msgspec import Meta, field

from models.access.keys import READ
from models.analytics.energy import series
from models.analytics.energy.buckets import BUCKETS, MAX_BUCKETS, TooManyBuckets, bucket_edges
from models.analytics.energy.efficiency import completeness
from models.devices.settings import get_device
from models.readings import METER, VEHICLE, Kind
from webapp.analytics.quantities import Implausible
from webapp.analytics.zones import IsZone
from webapp.devices.live import require_live
from webapp.http.answers import (
    Celsius,
    Count,
    JsonObject,
    Kwh,
    MeterId,
    Share,
    Time,
    VehicleId,
    Window,
    round_celsius,
    round_kwh,
    round_percent,
    round_ratio,
    round_volts,
)
from webapp.http.clock import request_time
from webapp.http.csv_files import csv_header, csv_lines, csv_media, csv_response, wants_csv
from webapp.http.fields import ClosedWindowSchema
from webapp.http.operations import Answer, operation
from webapp.http.resources import current_resources, database

bp = Blueprint("series", __name__)


class SeriesSchema(ClosedWindowSchema):
    """A window of any length, in buckets; left out, the last 24 hours by the hour."""

    bucket = fields.String(
        load_default="1h",
        validate=validate.OneOf(BUCKETS),
        metadata={
            "description": "the length of a bucket: minutes, an hour, a day, an ISO week (from Monday), a month. Days "
            f"and longer follow the calendar of `tz`. A series has at most {MAX_BUCKETS:,} buckets"
        },
    )
    tz = fields.String(
        load_default="UTC",
        validate=IsZone(),
        metadata={
            "description": "the IANA time zone whose clock the buckets follow. On the days on which it is changed, a "
            "day has 23 or 25 hours"
        },
    )


# ── Answers ──────────────────────────────────────────────────────────────────────────────────────────────────


class Bucket(JsonObject):
    """A device in [from, to)."""

    start: Annotated[Time, Meta(description="of the first bucket the start of the window")] = field(name="from")
    end: Annotated[Time, Meta(description="the next bucket's `from`; of the last the end of the window")] = field(
        name="to"
    )
    energy: Annotated[
        Kwh,
        Meta(
            description="kWh that the meter counted, or that reached the vehicle's battery; below 0 by a dip of a "
            "cumulative register if the bucket has nothing else"
        ),
    ]
    readings: Annotated[Count, Meta(description="distinct instants of the device's readings")]
    completeness: Annotated[
        Share | None,
        Meta(
            description="`readings` of those expected, one in each `heartbeatSeconds` and none in the future; null: "
            "none was expected"
        ),
    ]
    implausible: Implausible


class MeterBucket(Bucket):
    """A meter in [from, to)."""

    avg_voltage: Annotated[float | None, Meta(description="V; null: no reading")]


class VehicleBucket(Bucket):
    """A vehicle in [from, to)."""

    avg_battery_temp: Celsius
    avg_soc: Annotated[float | None, Meta(description="percent, of the readings that have one; null: none has")]


# The fields of the averages of a bucket, in the order of the models, with their rounding.
_AVERAGES = {
    METER.name: {"avg_voltage": round_volts},
    VEHICLE.name: {"avg_battery_temp": round_celsius, "avg_soc": round_percent},
}


class Series(JsonObject):
    """Base of the series of a device."""

    window: Window
    bucket: str
    tz: str
    heartbeat_seconds: Annotated[int, Meta(ge=1, description="the device is expected to report once in each")]
    watermark: Annotated[
        Time | None,
        Meta(
            description="what was recorded before it was read from hourly roll-ups, except for late changes; the "
            "numbers are those of history. Null: all was computed from history"
        ),
    ]


class MeterSeries(Series):
    """The buckets of a window, the empty ones too."""

    meter_id: MeterId
    buckets: Annotated[list[MeterBucket], Meta(min_length=1, max_length=MAX_BUCKETS)]


class VehicleSeries(Series):
    """The buckets of a window, the empty ones too."""

    vehicle_id: VehicleId
    buckets: Annotated[list[VehicleBucket], Meta(min_length=1, max_length=MAX_BUCKETS)]


# ── Operations ───────────────────────────────────────────────────────────────────────────────────────────────


def _answers(bucket: type[Bucket]) -> dict[int, Answer]:
    description = (
        "Each bucket of the window; their energies add up to that of the window. JSON, or CSV with `Accept: text/csv`"
    )
    return {200: Answer(description, media=csv_media(bucket), headers=("Content-Disposition",))}


@bp.get("/v1/vehicles/<vehicle_id>/series")
@operation(
    "Analytics",
    "Show the energy, temperature and state of charge of a vehicle, bucket by bucket",
    scopes=(READ,),
    errors=(404,),
    query=SeriesSchema,
    answers=_answers(VehicleBucket),
)
def get_vehicle_series(vehicle_id: VehicleId, query: Mapping[str, Any]) -> VehicleSeries | Response:
    return _get_series(VEHICLE, vehicle_id, query, VehicleSeries, VehicleBucket)


@bp.get("/v1/meters/<meter_id>/series")
@operation(
    "Analytics",
    "Show the energy and voltage of a meter, bucket by bucket",
    scopes=(READ,),
    errors=(404,),
    query=SeriesSchema,
    answers=_answers(MeterBucket),
)
def get_meter_series(meter_id: MeterId, query: Mapping[str, Any]) -> MeterSeries | Response:
    return _get_series(METER, meter_id, query, MeterSeries, MeterBucket)


def _get_series(
    kind: Kind,
    device_id: str,
    query: Mapping[str, Any],
    shape: type[MeterSeries] | type[VehicleSeries],
    bucket_shape: type[Bucket],
) -> Any:
    edges = _edges(query["start"], query["end"], query["bucket"], query["tz"])
    default = current_resources().settings.heartbeat_seconds
    with database() as connection:
        require_live(connection, kind, device_id)
        heartbeat_seconds = get_device(connection, kind, device_id).heartbeat_seconds or default
        found = series.get_series(connection, kind, device_id, edges, heartbeat_seconds=default)
    buckets: list[Any] = [bucket_shape(**_bucket_fields(kind, bucket, heartbeat_seconds)) for bucket in found.buckets]
    if wants_csv():
        return csv_response(f"{kind.name}-{device_id}-series.csv", [csv_header(bucket_shape), csv_lines(buckets)])
    device: dict[str, Any] = {kind.device_column: device_id}
    return shape(
        **device,
        window=Window(start=edges[0], end=edges[-1]),
        bucket=query["bucket"],
        tz=query["tz"],
        heartbeat_seconds=heartbeat_seconds,
        watermark=found.watermark,
        buckets=buckets,
    )


def _edges(start: datetime, end: datetime, bucket: str, zone: str) -> list[datetime]:
    try:
        return bucket_edges(start, end, bucket, ZoneInfo(zone))
    except TooManyBuckets:
        raise ValidationError(
            f"A series has at most {MAX_BUCKETS:,} buckets: take a wider `bucket` or a shorter window.", "bucket"
        ) from None
    except OverflowError:
        raise ValidationError("Must be a time of this era.", "to") from None


def _bucket_fields(kind: Kind, bucket: series.Bucket, heartbeat_seconds: int) -> dict[str, Any]:
    """The fields of a MeterBucket or VehicleBucket."""
    share = completeness(
        bucket.readings, bucket.starts, bucket.ends, heartbeat_seconds=heartbeat_seconds, now=request_time()
    )
    averages = zip(_AVERAGES[kind.name].items(), bucket.averages, strict=True)
    return {
        "start": bucket.starts,
        "end": bucket.ends,
        "energy": round_kwh(bucket.kwh),
        "readings": bucket.readings,
        "completeness": round_ratio(share),
        "implausible": bucket.implausible,
        **{name: rounded(average) for (name, rounded), average in averages},
    }
