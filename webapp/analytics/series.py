"""Series: energy and averages of one device over time, bucket by bucket, for charts."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple
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
    found = _find(VEHICLE, vehicle_id, query)
    buckets = [
        VehicleBucket(**shared, avg_battery_temp=round_celsius(temperature), avg_soc=round_percent(soc))
        for shared, (temperature, soc) in found.buckets
    ]
    if wants_csv():
        return _csv(f"vehicle-{vehicle_id}", VehicleBucket, buckets)
    return VehicleSeries(**found.fields, vehicle_id=vehicle_id, buckets=buckets)


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
    found = _find(METER, meter_id, query)
    buckets = [MeterBucket(**shared, avg_voltage=round_volts(voltage)) for shared, (voltage,) in found.buckets]
    if wants_csv():
        return _csv(f"meter-{meter_id}", MeterBucket, buckets)
    return MeterSeries(**found.fields, meter_id=meter_id, buckets=buckets)


class _Found(NamedTuple):
    """The fields of Series; and of each bucket the fields of Bucket with the averages of the device's kind."""

    fields: dict[str, Any]
    buckets: list[tuple[dict[str, Any], Sequence[float | None]]]


def _find(kind: Kind, device_id: str, query: Mapping[str, Any]) -> _Found:
    edges = _edges(query["start"], query["end"], query["bucket"], query["tz"])
    default = current_resources().settings.heartbeat_seconds
    with database() as connection:
        require_live(connection, kind, device_id)
        heartbeat_seconds = get_device(connection, kind, device_id).heartbeat_seconds or default
        found = series.get_series(connection, kind, device_id, edges, heartbeat_seconds=default)
    header = {
        "window": Window(start=edges[0], end=edges[-1]),
        "bucket": query["bucket"],
        "tz": query["tz"],
        "heartbeat_seconds": heartbeat_seconds,
        "watermark": found.watermark,
    }
    return _Found(header, [(_bucket_fields(bucket, heartbeat_seconds), bucket.averages) for bucket in found.buckets])


def _edges(start: datetime, end: datetime, bucket: str, zone: str) -> list[datetime]:
    try:
        return bucket_edges(start, end, bucket, ZoneInfo(zone))
    except TooManyBuckets:
        raise ValidationError(
            f"A series has at most {MAX_BUCKETS:,} buckets: take a wider `bucket` or a shorter window.", "bucket"
        ) from None
    except OverflowError:
        raise ValidationError("Must be a time of this era.", "to") from None


def _bucket_fields(bucket: series.Bucket, heartbeat_seconds: int) -> dict[str, Any]:
    share = completeness(
        bucket.readings, bucket.starts, bucket.ends, heartbeat_seconds=heartbeat_seconds, now=request_time()
    )
    return {
        "start": bucket.starts,
        "end": bucket.ends,
        "energy": round_kwh(bucket.kwh),
        "readings": bucket.readings,
        "completeness": round_ratio(share),
        "implausible": bucket.implausible,
    }


def _csv(name: str, shape: type[Bucket], buckets: Iterable[Bucket]) -> Response:
    return csv_response(f"{name}-series.csv", [csv_header(shape), csv_lines(buckets)])
