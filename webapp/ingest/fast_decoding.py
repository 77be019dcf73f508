"""The fast decoder of ingest: bodies in which every reading is valid, in one pass in C (about a microsecond a reading).

Readings with fields that their kind does not have are valid; they take more passes, which find the names.
It is derived from the marshmallow schemas, which are the contract. For all other bodies see decoding.py.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import GenericAlias
from typing import Annotated, Any

import msgspec
from marshmallow import Schema, fields, validate
from msgspec import UNSET, UnsetType

from models.access.bindings import Binding
from models.readings import KINDS, METER, VEHICLE, Kind, MeterReading, VehicleReading, to_microseconds
from models.settings import Settings
from webapp.http.fields import EARLIEST, MAX_NAMES, Number, Timestamp, list_unknown
from webapp.ingest.schemas import MeterReadingSchema, VehicleReadingSchema

MAX_LISTED_ERRORS = 100
SCHEMAS: dict[Kind, Schema] = {METER: MeterReadingSchema(), VEHICLE: VehicleReadingSchema()}
FIELDS = {kind: frozenset(schema.fields) for kind, schema in SCHEMAS.items()}
# Of an array with more objects, those within its rows included, the rows are not counted: that takes 60 ms a million.
MAX_OBJECTS = 200_000
UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_ARRAY = re.compile(rb"[ \t\r\n]*\[")
MAX_NAMED_BYTES = 16 * 1024  # of a row; the names of a larger one could take much memory


class TooManyReadings(Exception):
    """The body has more readings than a request may have; the message is their number."""


@dataclass(slots=True)
class Decoded:
    """The readings of one body, each kind in the order it was sent, and the rows that were rejected."""

    meters: list[MeterReading] = field(default_factory=list)
    vehicles: list[VehicleReading] = field(default_factory=list)
    rejected: int = 0
    forbidden: int = 0  # of those rejected: valid, but of devices that the key may not post for
    beyond_bound: int = 0  # of those rejected: valid, but of new devices of a key that posts for as many as it may
    unexamined: int = 0  # of those rejected: only the fast decoder saw them
    errors: list[dict] = field(default_factory=list)  # the first MAX_LISTED_ERRORS
    ignored: tuple[str, ...] = ()  # the first MAX_NAMES fields of accepted readings that their kind does not have
    with_ignored: int = 0  # accepted readings with such fields
    may_ignore: bool = False  # whether to look for such fields
    is_single: bool = False

    @property
    def accepted(self) -> int:
        return len(self.meters) + len(self.vehicles)

    def reject(self, index: int, errors: Any) -> None:
        self.rejected += 1
        if len(self.errors) < MAX_LISTED_ERRORS:
            self.errors.append({"index": index, "errors": errors})

    def note_ignored(self, kind: Kind, row: Any) -> None:
        """Notes the fields of an accepted reading, which is JSON, that its kind does not have."""
        names = field_names(row)
        if not FIELDS[kind].issuperset(names):
            self.with_ignored += 1
            if len(self.ignored) < MAX_NAMES:
                found = dict.fromkeys([*self.ignored, *list_unknown(names, FIELDS[kind])])
                self.ignored = tuple(found)[:MAX_NAMES]


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


def _derive(schemas: Collection[Schema], **options: Any) -> Any:
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
            optional.append((key, _type_of(schema_field) | UnsetType, UNSET))
    return msgspec.defstruct("Row", required + optional, gc=False, **options)


class _Decoders:
    """Decode bodies with readings of a kind, or of either."""

    def __init__(self, **options: Any):
        schemas: dict[Kind | None, Collection[Schema]] = {kind: [schema] for kind, schema in SCHEMAS.items()}
        schemas[None] = SCHEMAS.values()
        rows = {kind: _derive(each, **options) for kind, each in schemas.items()}
        self._lines = {kind: msgspec.json.Decoder(row) for kind, row in rows.items()}
        self._bodies = {kind: msgspec.json.Decoder(row | GenericAlias(list, row)) for kind, row in rows.items()}

    def decode(self, body: Any, kind: Kind | None, ndjson: bool) -> Any:
        """A row, or a list of rows."""
        return self._lines[kind].decode_lines(body) if ndjson else self._bodies[kind].decode(body)

    def decode_row(self, row: Any, kind: Kind | None) -> Any:
        return self._lines[kind].decode(row)


_EXACT, _LENIENT = _Decoders(forbid_unknown_fields=True), _Decoders()
_split_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_split_lines = msgspec.json.Decoder(msgspec.Raw).decode_lines
_split_row = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


# Each object becomes a struct without fields, which takes 24 bytes.
_OBJECTS = msgspec.json.Decoder(GenericAlias(list, msgspec.defstruct("Anything", [], gc=False)))


def decode_fast(body: bytes, kind: Kind | None, ndjson: bool, bounds: Bounds, max_readings: int) -> Decoded | None:
    """The readings of a body in which every row is valid; None if the schemas must decide. Raises TooManyReadings."""
    decoded = Decoded()
    try:
        _require_few_rows(body, ndjson, max_readings)
        try:
            rows = _EXACT.decode(body, kind, ndjson)
        except (msgspec.ValidationError, UnicodeDecodeError):  # a wrong value, or a field that no reading has
            rows = _LENIENT.decode(body, kind, ndjson)
            decoded.may_ignore = True
    except UNDECODABLE:
        return None
    if not isinstance(rows, list):
        decoded.is_single, rows = True, [rows]
    if len(rows) > max_readings:
        raise TooManyReadings(len(rows))
    if not _add_rows(decoded, rows, kind, bounds):
        return None
    if decoded.may_ignore:
        sent = [body] if decoded.is_single else _split_lines(body) if ndjson else _split_array(body)
        for row, each in zip(rows, sent, strict=True):
            decoded.note_ignored(_kind_of_row(row, kind) or METER, each)
    return decoded


def field_names(row: Any) -> Collection[str]:
    """The fields of a row in JSON; none if it is no object, or too large."""
    text = bytes(row)
    if len(text) > MAX_NAMED_BYTES:
        return ()
    try:
        return _split_row(text.decode(errors="replace"))
    except UNDECODABLE:
        return ()


def _require_few_rows(body: bytes, ndjson: bool, max_readings: int) -> None:
    """Raises TooManyReadings before any row is built.

    A row that is an object has a brace, so that the exact count is needed only if there are more braces than readings
    allowed. Raises an error of UNDECODABLE if the rows are not all objects.
    """
    if ndjson:
        lines = body.count(b"\n") + 1
        if lines > 2 * max_readings + 1:  # blank ones included
            raise TooManyReadings(lines)
    elif (objects := body.count(b"{")) > max_readings and is_array(body):
        if objects > max(MAX_OBJECTS, max_readings):
            raise TooManyReadings(f"{objects} objects")
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
        is_valid = _add_rows(decoded, [_LENIENT.decode_row(row, kind)], kind, bounds)
    except UNDECODABLE:
        return None
    if not is_valid:
        return None
    return (METER, decoded.meters[0]) if decoded.meters else (VEHICLE, decoded.vehicles[0])


def _add_rows(decoded: Decoded, rows: list[Any], kind: Kind | None, bounds: Bounds) -> bool:
    """Adds the readings of rows that have the right types; False at the first one that is no valid reading."""
    earliest, latest, both_kinds = bounds.earliest, bounds.latest, kind is None
    # Plain tuples: making a MeterReading takes as long as decoding it.
    reading: Any
    for row in rows:
        row_kind, timestamp = _kind_of_row(row, kind), row.timestamp
        if row_kind is None or not earliest <= timestamp <= latest:
            return False
        if row_kind is METER:
            reading = (row.meterId, to_microseconds(timestamp), row.kwhConsumedAc, row.voltage)
            readings: list = decoded.meters
            if both_kinds and not (row.soc is row.batteryTemp is row.kwhDeliveredDc is row.vehicleId is UNSET):
                decoded.may_ignore = True
        else:
            soc = None if row.soc is UNSET else row.soc
            reading = (row.vehicleId, to_microseconds(timestamp), row.kwhDeliveredDc, row.batteryTemp, soc)
            readings = decoded.vehicles
            if both_kinds and not (row.voltage is row.kwhConsumedAc is row.meterId is UNSET):
                decoded.may_ignore = True
        if UNSET in reading:  # a field its kind requires
            return False
        readings.append(reading)
    return True


def _kind_of_row(row: Any, path_kind: Kind | None) -> Kind | None:
    """None if the kind is not plain."""
    if path_kind is not None:
        return path_kind if row.type is UNSET or row.type.lower() == path_kind.name else None
    if row.type is UNSET:
        has_meter, has_vehicle = row.meterId is not UNSET, row.vehicleId is not UNSET
        return (METER if has_meter else VEHICLE) if has_meter != has_vehicle else None
    return KINDS.get(row.type.lower())
