"""Export of readings, as one stream of CSV or Parquet."""

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import chain
from typing import Any

import psycopg
import structlog
from flask import Blueprint, Response, current_app, request
from flask.sansio.blueprints import BlueprintSetupState
from marshmallow import ValidationError, fields, validate

from models.access.keys import READ
from models.exports.csv_copy import PATIENCE_SECONDS, Selection, copy_csv, export_connection, terminate_export
from models.exports.parquet import to_parquet
from models.readings import DEVICE_ID_RULE, KINDS
from models.settings import Settings
from webapp.http.auth import binding, require_devices
from webapp.http.bounds.places import current_sender
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
    """The exports that run in this process, and who reads them.

    A slot is free once its query has ended, also if that was because its client reads nothing. Such a client keeps a
    thread of the server, and counts for its sender, until it closes the connection.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[object, float] = {}  # until when
        self._senders: dict[object, str] = {}

    def acquire(self, settings: Settings, sender: str) -> object:
        """A slot, to be released. Raises ApiError: 429 if the sender has its share already, 503 if all are in use."""
        now = time.monotonic()
        with self._lock:
            own = list(self._senders.values()).count(sender)
            if own >= settings.exports_per_key:
                raise ApiError(429, f"This key has {own} running, and may have no more at a time; end it, or wait")
            self._running = {slot: end for slot, end in self._running.items() if end > now}
            if len(self._running) >= settings.export_concurrency:
                raise ApiError(
                    503,
                    f"{len(self._running)} exports are running, and no more may run at a time; try again later",
                    reason="exports_busy",
                )
            slot = object()
            self._running[slot] = now + settings.export_seconds + PATIENCE_SECONDS
            self._senders[slot] = sender
        return slot

    def end_query(self, slot: object) -> None:
        with self._lock:
            self._running.pop(slot, None)

    def release(self, slot: object) -> None:
        self.end_query(slot)
        with self._lock:
            self._senders.pop(slot, None)


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

    A key may have {exports_per_key} at a time, else 429. A reader that takes nothing for {export_stall_seconds} seconds
    ends it.

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


@contextmanager
def _deadline(seconds: float, end: Callable[[], None]) -> Iterator[None]:
    """Calls `end` if this context lasts for longer."""
    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _accepted() -> str:
    best = request.accept_mimetypes.best_match(list(MEDIA_TYPES.values()), default=MEDIA_TYPES[CSV])
    return next(form for form, media_type in MEDIA_TYPES.items() if media_type == best)


def _export(selection: Selection, form: str) -> Generator[bytes]:
    """The file in pieces. If it ends early, CSV has a last line with a note, and Parquet has no footer."""
    settings, slots = current_resources().settings, current_app.extensions["export_slots"]
    slot = slots.acquire(settings, current_sender())
    started, size, ended, is_stalled = time.monotonic(), 0, "client_gone", threading.Event()
    try:
        with (
            export_connection(settings) as connection,
            closing(copy_csv(connection, selection, header=form == CSV)) as csv,
        ):
            pid = connection.info.backend_pid

            def end_stalled() -> None:
                is_stalled.set()
                terminate_export(settings, pid)
                slots.end_query(slot)

            for piece in csv if form == CSV else to_parquet(selection, csv):
                with _deadline(settings.export_stall_seconds, end_stalled):
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
            "export_ended", kind=selection.kind.name, format=form, bytes=size,
            how="stalled" if is_stalled.is_set() else ended,
            seconds=round(time.monotonic() - started, 3),
        )  # fmt: skip
