"""History of a device: its readings, newest first, in pages of JSON or as one stream of CSV."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any

import psycopg
import structlog
from circuitbreaker import CircuitBreakerError
from flask import Blueprint, Response, current_app, stream_with_context
from flask.sansio.blueprints import BlueprintSetupState
from marshmallow import fields, validate
from psycopg_pool import PoolTimeout

from models.access.keys import READ
from models.readings import METER, VEHICLE, Kind
from models.storage.stored_readings import StoredReading, list_history
from webapp.devices.answers import (
    MeterHistoryPage,
    StoredMeterReading,
    StoredVehicleReading,
    VehicleHistoryPage,
    reading_fields,
)
from webapp.devices.live import TAG, require_live
from webapp.http.answers import JsonObject, MeterId, Page, VehicleId
from webapp.http.bounds.places import Places, current_sender
from webapp.http.csv_files import csv_header, csv_lines, csv_media, csv_response, wants_csv
from webapp.http.fields import PageSchema, WindowSchema
from webapp.http.operations import Answer, operation
from webapp.http.paging import decode_cursor, page
from webapp.http.resources import database

bp = Blueprint("history", __name__)

DEFAULT_LIMIT = 100
CSV_PAGE = 1000  # rows
PATIENCE_SECONDS = 15
PAUSE_SECONDS = 0.5
# A slow reader of a stream holds a thread of the web process for as long as it likes.
MOST_STREAMS, MOST_STREAMS_OF_SENDER = 8, 4
_UNAVAILABLE = (psycopg.OperationalError, PoolTimeout, CircuitBreakerError)
_READINGS: dict[str, type[StoredMeterReading] | type[StoredVehicleReading]] = {
    METER.name: StoredMeterReading,
    VEHICLE.name: StoredVehicleReading,
}

log = structlog.get_logger()


@bp.record_once
def _create_places(state: BlueprintSetupState) -> None:
    state.app.extensions["csv_streams"] = Places("streams of CSV", MOST_STREAMS, MOST_STREAMS_OF_SENDER)


class HistoryPageSchema(PageSchema, WindowSchema):
    limit = fields.Integer(
        load_default=None,
        validate=validate.Range(1, 1000),
        metadata={"description": "items a page (JSON: 100); CSV without a limit streams the whole window"},
    )


def _answers(reading: type[JsonObject]) -> dict[int, Answer]:
    return {200: Answer("The readings", media=csv_media(reading), headers=("Content-Disposition",))}


@bp.get("/v1/vehicles/<vehicle_id>/history")
@operation(
    TAG,
    "List a vehicle's readings, newest first",
    scopes=(READ,),
    query=HistoryPageSchema,
    errors=(404,),
    answers=_answers(StoredVehicleReading),
)
def list_vehicle_history(vehicle_id: VehicleId, query: Mapping[str, Any]) -> VehicleHistoryPage | Response:
    """In pages of JSON, or with `Accept: text/csv` as one stream of CSV."""
    return _list_history(VEHICLE, vehicle_id, query, VehicleHistoryPage)


@bp.get("/v1/meters/<meter_id>/history")
@operation(
    TAG,
    "List a meter's readings, newest first",
    scopes=(READ,),
    query=HistoryPageSchema,
    errors=(404,),
    answers=_answers(StoredMeterReading),
)
def list_meter_history(meter_id: MeterId, query: Mapping[str, Any]) -> MeterHistoryPage | Response:
    """In pages of JSON, or with `Accept: text/csv` as one stream of CSV."""
    return _list_history(METER, meter_id, query, MeterHistoryPage)


def _list_history(kind: Kind, device_id: str, query: Mapping[str, Any], shape: type[Page]) -> Any:
    window = {"start": query["start"], "end": query["end"], "after": decode_cursor(query["cursor"], datetime, datetime)}
    with database() as connection:
        require_live(connection, kind, device_id)
        if wants_csv():
            places, sender = current_app.extensions["csv_streams"], current_sender()
            ticket = places.enter(sender)
            leave = partial(places.leave, sender, ticket)
            lines = _stream(kind, device_id, window, query["limit"], leave)
            response = csv_response(f"{kind.name}-{device_id}.csv", stream_with_context(lines))
            response.call_on_close(leave)
            return response
        limit = query["limit"] or DEFAULT_LIMIT
        rows = list_history(connection, kind, device_id, limit=limit + 1, **window)
    rows, following = page(rows, limit, lambda row: (row.recorded_at, row.received_at))
    return shape(items=_present(kind, rows), next=following)


def _present(kind: Kind, rows: list[StoredReading]) -> list[Any]:
    return [_READINGS[kind.name](**reading_fields(kind, row)) for row in rows]


def _stream(kind: Kind, device_id: str, window: dict, limit: int | None, leave: Callable[[], None]) -> Iterator[str]:
    """The window as CSV, page by page: constant memory, and no connection is kept while a slow client reads.

    Calls `leave` at the end.
    """
    yield csv_header(_READINGS[kind.name])
    left, size = limit, CSV_PAGE
    try:
        while size == CSV_PAGE and left != 0:
            rows = _patient_page(kind, device_id, window, CSV_PAGE if left is None else min(left, CSV_PAGE))
            yield csv_lines(_present(kind, rows))
            size = len(rows)
            left = None if left is None else left - size
            window["after"] = (rows[-1].recorded_at, rows[-1].received_at) if rows else None
    except _UNAVAILABLE as error:
        # The status is sent already, and the server ends the stream as if it were whole: the file itself says so.
        log.error("export_interrupted", device_id=device_id, error=type(error).__name__)
        yield "# incomplete: the database became unavailable, older readings are missing\n"
    finally:
        leave()


def _patient_page(kind: Kind, device_id: str, window: dict, limit: int) -> list[StoredReading]:
    """Waits for a database that is unavailable for a moment."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with database() as connection:
                return list_history(connection, kind, device_id, limit=limit, **window)
        except _UNAVAILABLE:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(PAUSE_SECONDS)
