"""Live state and history of meters and vehicles."""

import csv
import io
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice

import psycopg
import structlog
from circuitbreaker import CircuitBreakerError
from flask import Blueprint, Response, request, stream_with_context
from marshmallow import fields, validate
from psycopg_pool import PoolTimeout

from models.devices.mapping import get_feeding_meters
from models.devices.settings import Device, get_devices
from models.readings import METER, VEHICLE, Kind, rfc3339
from models.storage.stored_readings import StoredReading, get_live, list_history, list_live
from webapp.http.auth import binding, require_devices
from webapp.http.clock import request_time
from webapp.http.errors import ApiError
from webapp.http.fields import DEVICE_ID, PageSchema, WindowSchema
from webapp.http.paging import decode_cursor, page
from webapp.http.resources import current_resources, database

bp = Blueprint("devices", __name__)

KINDS_IN_PATHS = (("vehicles", VEHICLE), ("meters", METER))
DEFAULT_HISTORY_LIMIT = 100
CSV_PAGE = 1000  # rows
EXPORT_PATIENCE_SECONDS = 15
EXPORT_PAUSE_SECONDS = 0.5

log = structlog.get_logger()


class LivePageSchema(PageSchema):
    online = fields.Boolean(
        load_default=None,
        truthy={"true", "1"},
        falsy={"false", "0"},
        metadata={"description": "only devices heard of lately (true), or only the others (false)"},
    )


class HistoryPageSchema(WindowSchema):
    limit = fields.Integer(
        load_default=None,
        validate=validate.Range(1, 1000),
        metadata={"description": "items a page (JSON: 100); CSV without a limit streams the whole window"},
    )
    cursor = fields.String(load_default=None, validate=validate.Length(1, 512))


def list_devices(kind: Kind):
    query = LivePageSchema().load(request.args)
    after = decode_cursor(query["cursor"], str)
    now = request_time()
    boundary = now - _offline_after()
    with database() as connection:
        rows = list_live(
            connection,
            kind,
            after=after[0] if after else "",
            limit=query["limit"] + 1,
            binding=binding(),
            seen_since=boundary if query["online"] is True else None,
            silent_since=boundary if query["online"] is False else None,
        )
        rows, following = page(rows, query["limit"], lambda row: (row.device_id,))
        items = _present(connection, kind, rows, now)
    return {"items": items, "next": following}


def show_device(kind: Kind, device_id: str):
    now = request_time()
    with database() as connection:
        row = get_live(connection, kind, _known_id(kind, device_id))
        if row is None:
            raise _not_found(kind)
        return _present(connection, kind, [row], now)[0]


def show_history(kind: Kind, device_id: str):
    query = HistoryPageSchema().load(request.args)
    after = decode_cursor(query["cursor"], datetime, datetime)
    window = {"start": query["start"], "end": query["end"], "after": after}
    with database() as connection:
        if get_live(connection, kind, _known_id(kind, device_id)) is None:
            raise _not_found(kind)
        if request.accept_mimetypes.best_match(["application/json", "text/csv"]) == "text/csv":
            return _csv(kind, device_id, window, query["limit"])
        limit = query["limit"] or DEFAULT_HISTORY_LIMIT
        rows = list_history(connection, kind, device_id, limit=limit + 1, **window)
    rows, following = page(rows, limit, lambda row: (row.recorded_at, row.received_at))
    return {"items": [_reading(kind, row) for row in rows], "next": following}


for _plural, _kind in KINDS_IN_PATHS:
    for _rule, _view in (("", list_devices), ("/<device_id>", show_device), ("/<device_id>/history", show_history)):
        bp.add_url_rule(
            f"/v1/{_plural}{_rule}", f"{_view.__name__}_{_plural}", _view, defaults={"kind": _kind}, methods=["GET"]
        )


def _offline_after() -> timedelta:
    return timedelta(seconds=current_resources().settings.offline_after_seconds)


def _known_id(kind: Kind, device_id: str) -> str:
    if not DEVICE_ID.match(device_id):
        raise _not_found(kind)
    require_devices(device_id)
    return device_id


def _not_found(kind: Kind) -> ApiError:
    return ApiError(404, f"{kind.name.capitalize()} not found")


def _reading(kind: Kind, row: StoredReading) -> dict:
    return {
        kind.device_field: row.device_id,
        "timestamp": row.recorded_at,
        "receivedAt": row.received_at,
        **{name: getattr(row, column) for name, column in zip(kind.value_fields, kind.value_columns, strict=True)},
    }


def _present(connection, kind: Kind, rows: list[StoredReading], now: datetime) -> list[dict]:
    meters = get_feeding_meters(connection, [row.device_id for row in rows], now) if kind is VEHICLE else {}
    settings = get_devices(connection, kind, [row.device_id for row in rows])
    boundary = now - _offline_after()
    return [
        {
            **_reading(kind, row),
            "lastSeen": row.recorded_at,
            "online": row.recorded_at >= boundary,
            **present_settings(settings[row.device_id]),
            **({"meters": meters.get(row.device_id, [])} if kind is VEHICLE else {}),
        }
        for row in rows
    ]


def present_settings(device: Device) -> dict:
    """What is known of a device beside its readings."""
    return {
        "register": device.register,
        "heartbeatSeconds": device.heartbeat_seconds,
        "name": device.name,
        "site": device.site,
        "ratedPowerKw": device.rated_power_kw,
    }


def _csv(kind: Kind, device_id: str, window: dict, limit: int | None) -> Response:
    """The window as CSV, page by page: constant memory, and no connection held while a slow client reads."""
    rows = islice(_history_rows(kind, device_id, **window), limit)
    columns = [kind.device_field, "timestamp", "receivedAt", *kind.value_fields]

    def lines() -> Iterator[str]:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns)
        writer.writeheader()
        try:
            for number, row in enumerate(rows):
                record = _reading(kind, row)
                record["timestamp"] = rfc3339(record["timestamp"])
                record["receivedAt"] = rfc3339(record["receivedAt"])
                writer.writerow(record)
                if number % CSV_PAGE == CSV_PAGE - 1:
                    yield buffer.getvalue()
                    buffer.seek(0)
                    buffer.truncate()
        except (psycopg.OperationalError, PoolTimeout, CircuitBreakerError) as error:
            # The status was sent long ago, and the server ends the stream as if it were whole: say it in the file.
            log.error("export_broke_off", device_id=device_id, error=type(error).__name__)
            buffer.write("# incomplete: the database went out of reach, older readings are missing\n")
        yield buffer.getvalue()

    filename = f"{kind.name}-{device_id}.csv".replace(":", "_")
    return Response(
        stream_with_context(lines()),
        mimetype="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{filename}"'},
    )


def _history_rows(kind: Kind, device_id: str, start, end, after) -> Iterator[StoredReading]:
    while True:
        rows = _history_page(kind, device_id, start, end, after)
        yield from rows
        if len(rows) < CSV_PAGE:
            return
        after = (rows[-1].recorded_at, rows[-1].received_at)


def _history_page(kind: Kind, device_id: str, start, end, after) -> list[StoredReading]:
    """One page; a database that is gone for a moment is waited for."""
    give_up_at = time.monotonic() + EXPORT_PATIENCE_SECONDS
    while True:
        try:
            with database() as connection:
                return list_history(connection, kind, device_id, limit=CSV_PAGE, start=start, end=end, after=after)
        except (psycopg.OperationalError, PoolTimeout, CircuitBreakerError):
            if time.monotonic() > give_up_at:
                raise
            time.sleep(EXPORT_PAUSE_SECONDS)
