"""Request bodies into readings: one contract, two decoders.

The marshmallow schemas are the contract. The fast decoder (fast_decoding.py) is derived from them and accepts bodies in
which every reading is valid. All other bodies are split into rows; a row that the fast decoder does not accept goes
through the schemas, which also word the errors. tests/promises/test_contract.py holds the two together.

A sender can't make the process hold much more than the body: rows are counted before they are built, and of a row
only the fields of a reading are, one row at a time.
"""

import threading
from typing import Any

from marshmallow import ValidationError

from models.access.bindings import Binding
from models.readings import KINDS, METER, VEHICLE, Kind, MeterReading, VehicleReading, rfc3339, to_microseconds
from webapp.http.bodies import Malformed
from webapp.http.fields import closest, list_unknown
from webapp.ingest.fast_decoding import FIELDS, SCHEMAS, Bounds, Decoded, covers, decode_fast, decode_row, field_names
from webapp.ingest.rows import split_json, split_lines, split_row

FORBIDDEN_DEVICE = "This key may not post for this device."
TOO_MANY_DEVICES = "This key posts for as many devices as it may, and this one is new."
# After this number of rows that the schemas reject, they examine no other row of the request: some 20 ms of work.
MAX_EXAMINED = 500
# One thread of a process at a time decodes row by row. Another one waits this long for its turn.
BUSY_SECONDS = 2.0
_row_by_row = threading.Lock()
_ALL_FIELDS = FIELDS[METER] | FIELDS[VEHICLE]
_DEVICE_FIELDS = {kind.device_field for kind in KINDS.values()}


class DecoderBusy(Exception):
    """Other requests with bad rows are being decoded. Nothing was accepted."""


def decode(
    body: bytes,
    *,
    kind: Kind | None,
    ndjson: bool,
    bounds: Bounds,
    max_readings: int,
    binding: Binding | None = None,
    beyond_bound: frozenset[str] = frozenset(),
) -> Decoded:
    """The readings of a body: one reading, an array of them, or NDJSON; of `kind`, or of either if that is None.

    Readings of devices outside the `binding`, or `beyond_bound`, are rejected. Raises Malformed, TooManyReadings or
    DecoderBusy.
    """
    decoded = decode_fast(body, kind, ndjson, bounds, max_readings)
    if decoded is None or beyond_bound or (binding and not covers(binding, decoded)):
        if not _row_by_row.acquire(timeout=BUSY_SECONDS):
            raise DecoderBusy
        try:
            decoded = _decode_row_by_row(body, kind, ndjson, bounds, max_readings, binding, beyond_bound)
        finally:
            _row_by_row.release()
    return decoded


def _decode_row_by_row(
    body: bytes,
    kind: Kind | None,
    ndjson: bool,
    bounds: Bounds,
    max_readings: int,
    binding: Binding | None,
    beyond_bound: frozenset[str],
) -> Decoded:
    rows, is_single = split_lines(body, max_readings) if ndjson else split_json(body, max_readings)
    decoded, examined = Decoded(is_single=is_single), 0
    for index, row in enumerate(rows):
        found = decode_row(row, kind, bounds) if len(rows) > 1 else None
        if found is None and examined >= MAX_EXAMINED:
            decoded.rejected += 1
            decoded.unexamined += 1
            continue
        try:
            row_kind, reading = found or load_row(bytes(row), kind, bounds)
        except ValidationError as error:
            # marshmallow's frames refer to their error, and its traceback to them and to this frame with the body: a
            # cycle, which would stay in memory until the garbage collector finds it.
            error.__traceback__ = None
            examined += 1
            decoded.reject(index, error.normalized_messages())
            if len(decoded.errors) == decoded.rejected:  # it is listed
                _add_suggestions(decoded.errors[-1]["errors"], row)
            continue
        except Malformed as error:
            if is_single:
                raise
            examined += 1
            decoded.reject(index, {"_schema": [str(error)]})
            continue
        if binding and not binding.covers(reading[0]):
            decoded.reject(index, {row_kind.device_field: [FORBIDDEN_DEVICE]})
            decoded.forbidden += 1
        elif reading[0] in beyond_bound:
            decoded.reject(index, {row_kind.device_field: [TOO_MANY_DEVICES]})
            decoded.beyond_bound += 1
        else:
            readings: list = decoded.meters if row_kind is METER else decoded.vehicles
            readings.append(reading)
            decoded.note_ignored(row_kind, row)
    return decoded


def _add_suggestions(errors: dict[str, list[str]], row: Any) -> None:
    """Adds to the errors of missing fields the unknown field of the row that may be meant."""
    names = field_names(row)
    missing = errors.keys() - set(names)
    if "type" in missing:
        missing |= _DEVICE_FIELDS.difference(names)
    for name in list_unknown(names, _ALL_FIELDS):
        if meant := closest(name, missing):
            errors.setdefault(meant, []).append(f"Unknown field `{name}`; did you mean `{meant}`?")
            if meant in _DEVICE_FIELDS:
                errors.pop("type", None)


def load_row(row: bytes, path_kind: Kind | None, bounds: Bounds) -> tuple[Kind, MeterReading | VehicleReading]:
    """The reading by the schemas. Raises marshmallow's ValidationError, or Malformed."""
    values = split_row(row)
    kind = _require_kind(values, path_kind)
    data: Any = SCHEMAS[kind].load(values)
    timestamp = data["timestamp"]
    if timestamp > bounds.latest:
        raise ValidationError("Lies ahead of the server's clock; is the device's clock right?", "timestamp")
    if timestamp < bounds.earliest:
        raise ValidationError(f"Must not be before {rfc3339(bounds.earliest, 'seconds')}.", "timestamp")
    recorded_at = to_microseconds(timestamp)
    if kind is METER:
        return kind, MeterReading(data["meterId"], recorded_at, data["kwhConsumedAc"], data["voltage"])
    return kind, VehicleReading(
        data["vehicleId"], recorded_at, data["kwhDeliveredDc"], data["batteryTemp"], data.get("soc")
    )


def _require_kind(row: Any, path_kind: Kind | None) -> Kind:
    if not isinstance(row, dict):
        raise ValidationError("A reading must be a JSON object.")
    if "type" in row:
        kind = KINDS.get(row["type"].lower()) if isinstance(row["type"], str) else None
        if kind is None:
            raise ValidationError("Must be `meter` or `vehicle`.", "type")
        if path_kind and path_kind is not kind:
            raise ValidationError(f"This path takes {path_kind.name} readings only.", "type")
        return kind
    if path_kind is not None:
        return path_kind
    if ("meterId" in row) == ("vehicleId" in row):
        raise ValidationError("Must be given unless the reading has exactly one of `meterId` and `vehicleId`.", "type")
    return METER if "meterId" in row else VEHICLE
