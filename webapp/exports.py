"""Readings by the million, as one stream of CSV or Parquet."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import chain

import psycopg
import structlog
from flask import Blueprint, Flask, Response, current_app, request
from marshmallow import ValidationError, fields, validate

from models.exports.csv_copy import PATIENCE_SECONDS, Selection, copy_csv, export_connection
from models.exports.parquet import to_parquet
from models.readings import KINDS
from models.settings import Settings
from webapp.http.auth import binding, require_devices
from webapp.http.errors import ApiError
from webapp.http.fields import DEVICE_ID_RULE, ClosedWindowSchema, device_id
from webapp.http.resources import current_resources

bp = Blueprint("exports", __name__)

CSV, PARQUET = "csv", "parquet"
MEDIA_TYPES = {CSV: "text/csv", PARQUET: "application/vnd.apache.parquet"}
MAX_DEVICES = 1_000

log = structlog.get_logger()


class DeviceIds(fields.List):
    """Ids of which a wrong one is told like any field's error, and not by its place."""

    def _deserialize(self, value, attr, data, **kwargs) -> list[str]:
        try:
            return super()._deserialize(value, attr, data, **kwargs)
        except ValidationError:
            raise ValidationError(f"{DEVICE_ID_RULE}.") from None


class ExportSchema(ClosedWindowSchema):
    """Readings of one kind in a window of any length; left out, the last 24 hours."""

    kind = fields.String(required=True, validate=validate.OneOf(sorted(KINDS)))
    deviceId = DeviceIds(
        device_id(),
        load_default=list,
        validate=validate.Length(max=MAX_DEVICES),
        metadata={"description": "only these devices; repeat it for several. Left out: all"},
    )
    format = fields.String(
        load_default=None,
        validate=validate.OneOf(sorted(MEDIA_TYPES)),
        metadata={"description": "left out: as `Accept` says, else CSV"},
    )


class Slots:
    """The exports that this process runs at a time. One whose client holds still loses its slot with its time."""

    def __init__(self):
        self._lock = threading.Lock()
        self._ends: dict[object, float] = {}

    def take(self, settings: Settings) -> object:
        """A slot, to give back. Raises ApiError 503 where all are taken."""
        now = time.monotonic()
        with self._lock:
            self._ends = {slot: end for slot, end in self._ends.items() if end > now}
            if len(self._ends) >= settings.export_concurrency:
                raise ApiError(
                    503,
                    f"{len(self._ends)} exports are running, which is all that run at a time; try again later",
                    reason="exports_busy",
                )
            slot = object()
            self._ends[slot] = now + settings.export_seconds + PATIENCE_SECONDS
        return slot

    def give_back(self, slot: object) -> None:
        with self._lock:
            self._ends.pop(slot, None)


@bp.record_once
def _open_slots(state) -> None:
    app: Flask = state.app
    app.extensions["export_slots"] = Slots()


@bp.get("/v1/export/readings")
def export_readings():
    query = ExportSchema().load(request.args)
    require_devices(*query["deviceId"])
    start, end = query["start"], query["end"]
    selection = Selection(KINDS[query["kind"]], start, end, tuple(query["deviceId"]), binding())
    form = query["format"] or _accepted()
    name = f"{selection.kind.name}-readings-{start:%Y%m%dT%H%M%SZ}-{end:%Y%m%dT%H%M%SZ}.{form}"
    pieces = _export(selection, form)
    first = next(pieces, b"")  # what fails at once is answered with an error
    response = Response(
        chain([first], pieces),
        mimetype=MEDIA_TYPES[form],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
    response.call_on_close(pieces.close)  # a client that goes away ends the query
    return response


def _accepted() -> str:
    best = request.accept_mimetypes.best_match(list(MEDIA_TYPES.values()), default=MEDIA_TYPES[CSV])
    return next(form for form, media_type in MEDIA_TYPES.items() if media_type == best)


def _export(selection: Selection, form: str) -> Iterator[bytes]:
    """The file in pieces. Broken off it shows: CSV says so in its last line, Parquet is no file without its end."""
    settings, slots = current_resources().settings, current_app.extensions["export_slots"]
    slot, started, size = slots.take(settings), time.monotonic(), 0
    ended = "client_gone"
    try:
        with (
            export_connection(settings) as connection,
            closing(copy_csv(connection, selection, header=form == CSV)) as csv,
        ):
            for piece in csv if form == CSV else to_parquet(selection, csv):
                yield piece
                size += len(piece)
        ended = "complete"
    except psycopg.OperationalError as error:
        ended = "database_failed"
        if not size:
            raise  # nothing was sent yet: the answer is an error
        # The status was sent long ago, and the server ends the stream as if it were whole: say it in the file.
        log.error("export_broke_off", kind=selection.kind.name, bytes=size, error=type(error).__name__)
        if form == CSV:
            yield b"# incomplete: the database went out of reach or the time was over, readings are missing\n"
    finally:
        slots.give_back(slot)
        log.info(
            "export_ended", kind=selection.kind.name, format=form, how=ended, bytes=size,
            seconds=round(time.monotonic() - started, 3),
        )  # fmt: skip
