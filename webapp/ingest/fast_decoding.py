"""The fast decoder of ingest: bodies in which every reading is valid, in one pass in C (about a microsecond a reading).

It is derived from the marshmallow schemas, which are the contract. For all other bodies see decoding.py.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import GenericAlias
from typing import Annotated, Any

import msgspec
from marshmallow import Schema, fields, validate

from models.access.bindings import Binding
from models.readings import KINDS, METER, VEHICLE, Kind, MeterReading, VehicleReading, to_microseconds
from models.settings import Settings
from webapp.http.fields import EARLIEST, Number, Timestamp
from webapp.ingest.schemas import MeterReadingSchema, VehicleReadingSchema

MAX_LISTED_ERRORS = 100
SCHEMAS: dict[Kind, Schema] = {METER: MeterReadingSchema(), VEHICLE: VehicleReadingSchema()}
UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_ARRAY = re.compile(rb"[ \t\r\n]*\[")


class TooManyReadings(Exception):
    """The body has more readings than a request may have; the message is their number."""


@dataclass
class Decoded:
    """The readings of one body, each kind in the order it was sent, and the rows that were rejected."""

    meters: list[MeterReading] = field(default_factory=list)
    vehicles: list[VehicleReading] = field(default_factory=list)
    rejected: int = 0
    forbidden: int = 0  # of those rejected: valid, but of devices that the key may not post for
    unexamined: int = 0  # of those rejected: only the fast decoder saw them
    errors: list[dict] = field(default_factory=list)  # the first MAX_LISTED_ERRORS
    is_single: bool = False

    @property
    def accepted(self) -> int:
        return len(self.meters) + len(self.vehicles)

    def reject(self, index: int, errors: Any) -> None:
        self.rejected += 1
        if len(self.errors) < MAX_LISTED_ERRORS:
            self.errors.append({"index": index, "errors": errors})


@dataclass(frozen=True)
class Bounds:
    """The times a reading may have been recorded at."""

    earliest: datetime
    latest: datetime

    @classmethod
    def now(cls, settings: Settings) -> "Bounds":
        now = datetime.now(UTC)
        earliest = now - timedelta(days=settings.retention_days) if settings.retention_days else EARLIEST
        return cls(max(EARLIEST, earliest), now + timedelta(seconds=settings.max_clock_skew_seconds))


def covers(binding: Binding, decoded: Decoded) -> bool:
    """Whether all these readings are of devices that the key may post for."""
    return all(binding.covers(reading[0]) for readings in (decoded.meters, decoded.vehicles) for reading in readings)


def _type_of(schema_field: fields.Field) -> Any:
    """The msgspec type that accepts only what the marshmallow field accepts."""
    type_: Any
    match schema_field:
        case Number():
            type_ = float
            for rule in schema_field.validators:
                if isinstance(rule, validate.Range):
                    type_ = Annotated[float, msgspec.Meta(ge=rule.min, le=rule.max)]
        case Timestamp():
            type_ = Annotated[datetime, msgspec.Meta(tz=True)]
        case fields.String(validators=[validate.Regexp(regex=regex)]):
            type_ = Annotated[str, msgspec.Meta(pattern=str(regex.pattern))]
        case fields.String():
            type_ = str
        case _:
            raise TypeError(f"no fast type for {schema_field!r}")
    return type_ | None if schema_field.allow_none else type_


def _derive(name: str, *schemas: Schema) -> Any:
    """A struct with the fields of the schemas; a field is optional unless all of them require it."""
    merged: dict[str, fields.Field] = {}
    for schema in schemas:
        merged.update(schema.fields)
    required: list[Any] = []
    optional: list[Any] = []
    for key, schema_field in merged.items():
        if all(key in schema.fields and schema.fields[key].required for schema in schemas):
            required.append((key, _type_of(schema_field)))
        else:
            optional.append((key, _type_of(schema_field) | msgspec.UnsetType, msgspec.UNSET))
    return msgspec.defstruct(name, required + optional, gc=False)


_STRUCTS: dict[Kind | None, Any] = {
    METER: _derive("MeterRow", SCHEMAS[METER]),
    VEHICLE: _derive("VehicleRow", SCHEMAS[VEHICLE]),
    None: _derive("AnyRow", *SCHEMAS.values()),
}
_DECODERS: dict[Kind | None, msgspec.json.Decoder] = {
    kind: msgspec.json.Decoder(struct | GenericAlias(list, struct)) for kind, struct in _STRUCTS.items()
}
_LINE_DECODERS: dict[Kind | None, msgspec.json.Decoder] = {
    kind: msgspec.json.Decoder(struct) for kind, struct in _STRUCTS.items()
}


# Each object becomes a struct without fields, which takes 24 bytes.
_OBJECTS = msgspec.json.Decoder(GenericAlias(list, msgspec.defstruct("Anything", [], gc=False)))


def decode_fast(body: bytes, kind: Kind | None, ndjson: bool, bounds: Bounds, max_readings: int) -> Decoded | None:
    """The readings of a body in which every row is valid; None if the schemas must decide. Raises TooManyReadings."""
    try:
        _require_few_rows(body, ndjson, max_readings)
        rows = _LINE_DECODERS[kind].decode_lines(body) if ndjson else _DECODERS[kind].decode(body)
    except UNDECODABLE:
        return None
    decoded = Decoded(is_single=not isinstance(rows, list))
    rows = [rows] if decoded.is_single else rows
    if len(rows) > max_readings:
        raise TooManyReadings(len(rows))
    return decoded if _add_rows(decoded, rows, kind, bounds) else None


def _require_few_rows(body: bytes, ndjson: bool, max_readings: int) -> None:
    """Raises TooManyReadings before any row is built.

    A row that is an object has a brace, so that the exact count is needed only if there are more braces than readings
    allowed. Raises an error of UNDECODABLE if the rows are not all objects.
    """
    if ndjson:
        lines = body.count(b"\n") + 1
        if lines > 2 * max_readings + 1:  # blank ones included
            raise TooManyReadings(lines)
    elif body.count(b"{") > max_readings and is_array(body):
        rows = count_objects(body)
        if rows > max_readings:
            raise TooManyReadings(rows)


def is_array(body: bytes) -> bool:
    return bool(_ARRAY.match(body))


def count_objects(body: bytes) -> int:
    """The rows of an array of objects. Raises an error of UNDECODABLE if they are not."""
    return len(_OBJECTS.decode(body))


def decode_row(row: Any, kind: Kind | None, bounds: Bounds) -> tuple[Kind, Any] | None:
    """The reading of one row in JSON; None if the schemas must decide."""
    decoded = Decoded()
    try:
        is_valid = _add_rows(decoded, [_LINE_DECODERS[kind].decode(row)], kind, bounds)
    except UNDECODABLE:
        return None
    if not is_valid:
        return None
    return (METER, decoded.meters[0]) if decoded.meters else (VEHICLE, decoded.vehicles[0])


def _add_rows(decoded: Decoded, rows: list[Any], kind: Kind | None, bounds: Bounds) -> bool:
    """Adds the readings of rows that have the right types; False at the first one that is no valid reading."""
    # Plain tuples: making a MeterReading takes as long as decoding it.
    reading: Any
    for row in rows:
        row_kind = _kind_of_row(row, kind)
        if row_kind is None or not bounds.earliest <= row.timestamp <= bounds.latest:
            return False
        if row_kind is METER:
            reading = (row.meterId, to_microseconds(row.timestamp), row.kwhConsumedAc, row.voltage)
            readings: list = decoded.meters
        else:
            soc = None if row.soc is msgspec.UNSET else row.soc
            reading = (row.vehicleId, to_microseconds(row.timestamp), row.kwhDeliveredDc, row.batteryTemp, soc)
            readings = decoded.vehicles
        if msgspec.UNSET in reading:  # a field its kind requires
            return False
        readings.append(reading)
    return True


def _kind_of_row(row: Any, path_kind: Kind | None) -> Kind | None:
    """None if the kind is not plain."""
    if path_kind is not None:
        return path_kind if row.type is msgspec.UNSET or row.type.lower() == path_kind.name else None
    if row.type is msgspec.UNSET:
        has_meter, has_vehicle = row.meterId is not msgspec.UNSET, row.vehicleId is not msgspec.UNSET
        return (METER if has_meter else VEHICLE) if has_meter != has_vehicle else None
    return KINDS.get(row.type.lower())
