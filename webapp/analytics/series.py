"""Series: what a device did, bucket by bucket, for charts."""

import csv
import io
from datetime import datetime
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, request
from marshmallow import ValidationError, fields, validate

from models.analytics.energy.buckets import BUCKETS, MAX_BUCKETS, TooManyBuckets, bucket_edges
from models.analytics.energy.efficiency import completeness
from models.analytics.energy.series import Bucket, get_series
from models.devices.settings import get_device
from models.readings import METER, VEHICLE, Kind, rfc3339
from models.storage.stored_readings import get_live
from webapp.analytics.zones import IsZone
from webapp.devices.live import KINDS_IN_PATHS
from webapp.http.auth import require_devices
from webapp.http.clock import request_time
from webapp.http.errors import ApiError
from webapp.http.fields import DEVICE_ID, ClosedWindowSchema
from webapp.http.resources import current_resources, database

bp = Blueprint("series", __name__)

# The averages, in the order of models/analytics/energy/series.py, and the digits they are rounded to.
AVERAGES = {METER.name: ("avgVoltage",), VEHICLE.name: ("avgBatteryTemp", "avgSoc")}
_ENERGY_DIGITS, _AVERAGE_DIGITS, _COMPLETENESS_DIGITS = 6, 2, 4


class SeriesSchema(ClosedWindowSchema):
    """A window of any length, cut into buckets; left out, the last 24 hours by the hour."""

    bucket = fields.String(load_default="1h", validate=validate.OneOf(BUCKETS))
    tz = fields.String(load_default="UTC", validate=IsZone())


def show_series(kind: Kind, device_id: str):
    query = SeriesSchema().load(request.args)
    edges = _edges(query["start"], query["end"], query["bucket"], query["tz"])
    if not DEVICE_ID.match(device_id):
        raise _not_found(kind)
    require_devices(device_id)
    usual = current_resources().settings.heartbeat_seconds
    with database() as connection:
        if get_live(connection, kind, device_id) is None:
            raise _not_found(kind)
        device = get_device(connection, kind, device_id)
        series = get_series(connection, kind, device_id, edges, heartbeat_seconds=usual)
    now, heartbeat = request_time(), device.heartbeat_seconds or usual
    items = [_present(kind, bucket, now, heartbeat) for bucket in series.buckets]
    if request.accept_mimetypes.best_match(["application/json", "text/csv"]) == "text/csv":
        return _csv(kind, device_id, items)
    return {
        kind.device_field: device_id,
        "window": {"from": edges[0], "to": edges[-1]},
        "bucket": query["bucket"],
        "tz": query["tz"],
        "heartbeatSeconds": heartbeat,
        "watermark": series.watermark,
        "buckets": items,
    }


for _plural, _kind in KINDS_IN_PATHS:
    bp.add_url_rule(
        f"/v1/{_plural}/<device_id>/series", f"show_series_{_plural}", show_series, defaults={"kind": _kind}
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


def _not_found(kind: Kind) -> ApiError:
    return ApiError(404, f"{kind.name.capitalize()} not found")


def _present(kind: Kind, bucket: Bucket, now: datetime, heartbeat_seconds: int) -> dict:
    share = completeness(bucket.readings, bucket.starts, bucket.ends, heartbeat_seconds=heartbeat_seconds, now=now)
    averages = zip(AVERAGES[kind.name], bucket.averages, strict=True)
    return {
        "from": bucket.starts,
        "to": bucket.ends,
        "energy": _round(bucket.kwh, _ENERGY_DIGITS),
        "readings": bucket.readings,
        "completeness": _round(share, _COMPLETENESS_DIGITS),
        "implausible": bucket.implausible,
        **{name: _round(value, _AVERAGE_DIGITS) for name, value in averages},
    }


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits) + 0.0  # no -0.0


def _csv(kind: Kind, device_id: str, items: list[dict]) -> Response:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, items[0])
    writer.writeheader()
    for item in items:
        writer.writerow({**item, **{name: rfc3339(item[name]) for name in ("from", "to")}})
    filename = f"{kind.name}-{device_id}-series.csv".replace(":", "_")
    return Response(
        buffer.getvalue(),
        mimetype="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{filename}"'},
    )
