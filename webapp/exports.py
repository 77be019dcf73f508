"""Export of readings, as one stream of CSV or Parquet."""

import threading
import time
from collections.abc import Generator, Mapping
from contextlib import closing
from itertools import chain
from typing import Any

import psycopg
import structlog
from flask import Blueprint, Response, current_app, request
from flask.sansio.blueprints import BlueprintSetupState
from marshmallow import ValidationError, fields, validate

from models.access.keys import READ
from models.exports.csv_copy import PATIENCE_SECONDS, Selection, copy_csv, export_connection
from models.exports.parquet import to_parquet
from models.readings import DEVICE_ID_RULE, KINDS
from models.settings import Settings
from webapp.http.auth import binding, require_devices
from webapp.http.errors import ApiError
from webapp.http.fields import ClosedWindowSchema, device_id
from webapp.http.operations import Answer, operation
from webapp.http.resources import current_resources

bp = Blueprint("exports", __name__)

CSV, PARQUET = "csv", "parquet"
MEDIA_TYPES = {CSV: "text/csv", PARQUET: "application/vnd.apache.parquet"}
MAX_DEVICES = 1_000

log = structlog.get_logger()


# ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────


class DeviceIds(fields.List):
    """Ids of devices. The error of a wrong one is that of the field, without its place in the list."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list:
        try:
            return super()._deserialize(value, attr, data, **kwargs)
        except ValidationError:
            raise ValidationError(f"{DEVICE_ID_RULE}.") from None


class ExportSchema(ClosedWindowSchema):
    """Readings of one kind in a window of any length; left out, the last 24 hours."""

    kind = fields.String(
        required=True,
        validate=validate.OneOf(sorted(KINDS)),
        metadata={"description": "of which devices", "example": "meter"},
    )
    device_ids = DeviceIds(
        device_id(),
        data_key="deviceId",
        load_default=list,
        validate=validate.Length(max=MAX_DEVICES),
        metadata={"description": "only these devices; repeat it for several. Left out: all"},
    )
    format = fields.String(
        load_default=None,
        validate=validate.OneOf(sorted(MEDIA_TYPES)),
        metadata={"description": "left out: by `Accept`, else CSV"},
    )


# ── Exports that run ─────────────────────────────────────────────────────────────────────────────────────────


class Slots:
    """The exports that run in this process. Each slot expires, even if a client stops reading without closing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: dict[object, float] = {}

    def acquire(self, settings: Settings) -> object:
        """A slot, to be released. Raises ApiError 503 if all are in use."""
        now = time.monotonic()
        with self._lock:
            self._ends = {slot: end for slot, end in self._ends.items() if end > now}
            if len(self._ends) >= settings.export_concurrency:
                raise ApiError(
                    503,
                    f"{len(self._ends)} exports are running, and no more may run at a time; try again later",
                    reason="exports_busy",
                )
            slot = object()
            self._ends[slot] = now + settings.export_seconds + PATIENCE_SECONDS
        return slot

    def release(self, slot: object) -> None:
        with self._lock:
            self._ends.pop(slot, None)


@bp.record_once
def _create_slots(state: BlueprintSetupState) -> None:
    state.app.extensions["export_slots"] = Slots()


# ── Operation ────────────────────────────────────────────────────────────────────────────────────────────────

_HEADERS = " or ".join(
    f"`{','.join([kind.device_field, 'timestamp', 'receivedAt', *kind.value_fields])}`" for kind in KINDS.values()
)
_MEDIA = {
    MEDIA_TYPES[CSV]: {"type": "string", "description": f"first the header: {_HEADERS}"},
    MEDIA_TYPES[PARQUET]: {
        "type": "string",
        "format": "binary",
        "description": "the same columns: times as timestamp[us, UTC], values as double",
    },
}


@bp.get("/v1/export/readings")
@operation(
    "Live state",
    "Export readings as one stream of CSV or Parquet",
    scopes=(READ,),
    query=ExportSchema,
    answers={200: Answer("The readings", media=_MEDIA, headers=("Content-Disposition",))},
)
def export_readings(query: Mapping[str, Any]) -> Response:
    """All readings of history in the window, as history was when the export began.

    Every submission of an instant is exported: of those with the same device and `timestamp`, the one with the latest
    `receivedAt` counts. They are ordered by day (UTC) and, within a day, as they were stored; with `deviceId` they are
    ordered by device and time. A key that is bound to devices exports those. A device without readings adds nothing.

    An export that fails midway keeps its status 200: CSV then ends with a line that begins with `# incomplete`, and
    Parquet has no footer, so that no reader accepts the file.
    """
    require_devices(*query["device_ids"])
    start, end = query["start"], query["end"]
    selection = Selection(KINDS[query["kind"]], start, end, tuple(query["device_ids"]), binding())
    form = query["format"] or _accepted()
    name = f"{selection.kind.name}-readings-{start:%Y%m%dT%H%M%SZ}-{end:%Y%m%dT%H%M%SZ}.{form}"
    pieces = _export(selection, form)
    first = next(pieces, b"")  # an error before the first piece is answered as an error
    response = Response(
        chain([first], pieces),
        mimetype=MEDIA_TYPES[form],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
    response.call_on_close(pieces.close)  # ends the query if the client disconnects
    return response


def _accepted() -> str:
    best = request.accept_mimetypes.best_match(list(MEDIA_TYPES.values()), default=MEDIA_TYPES[CSV])
    return next(form for form, media_type in MEDIA_TYPES.items() if media_type == best)


def _export(selection: Selection, form: str) -> Generator[bytes]:
    """The file in pieces. If it ends early, CSV has a last line with a note, and Parquet has no footer."""
    settings, slots = current_resources().settings, current_app.extensions["export_slots"]
    slot, started, size = slots.acquire(settings), time.monotonic(), 0
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
        # The status is sent already, and the server will end the stream like a complete one.
        log.error("export_interrupted", kind=selection.kind.name, bytes=size, error=type(error).__name__)
        if form == CSV:
            yield b"# incomplete: the database became unavailable or the export took too long, readings are missing\n"
    finally:
        slots.release(slot)
        log.info(
            "export_ended", kind=selection.kind.name, format=form, how=ended, bytes=size,
            seconds=round(time.monotonic() - started, 3),
        )  # fmt: skip
