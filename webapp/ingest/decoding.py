"""Request bodies into readings: one contract, two decoders.

The marshmallow schemas are the contract. The fast decoder is derived from them and accepts bodies in which every
reading is valid, in one pass in C (about a microsecond a reading). All other bodies go through the schemas, row by
row, which also word the errors. tests/promises/test_contract.py holds the two together.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import GenericAlias
from typing import Annotated, Any

import msgspec
from marshmallow import Schema, ValidationError, fields, validate

from models.access.bindings import Binding
from models.readings import KINDS, METER, VEHICLE, Kind, MeterReading, VehicleReading, rfc3339, to_microseconds
from models.settings import Settings
from webapp.http.bodies import Malformed, parse_json
from webapp.http.fields import EARLIEST, Number, Timestamp
from webapp.ingest.schemas import MeterReadingSchema, VehicleReadingSchema

MAX_LISTED_ERRORS = 100
FORBIDDEN_DEVICE = "This key may not post for this device."
_SCHEMAS: dict[Kind, Schema] = {METER: MeterReadingSchema(), VEHICLE: VehicleReadingSchema()}


class TooManyReadings(Exception):
    """The body has more readings than a request may have; the message is their number."""


@dataclass
class Decoded:
    """The readings of one body, each kind in the order it was sent, and the rows that were rejected."""

    meters: list[MeterReading] = field(default_factory=list)
    vehicles: list[VehicleReading] = field(default_factory=list)
    rejected: int = 0
    forbidden: int = 0  # of those rejected: valid, but of devices that the key may not post for
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


def decode(
    body: bytes,
    *,
    kind: Kind | None,
    ndjson: bool,
    bounds: Bounds,
    max_readings: int,
    binding: Binding | None = None,
) -> Decoded:
    """The readings of a body: one reading, an array of them, or NDJSON; of `kind`, or of either if that is None.

    Readings of devices outside the `binding` are rejected. Raises Malformed or TooManyReadings.
    """
    decoded = decode_fast(body, kind, ndjson, bounds, max_readings)
    if decoded is None or (binding and not covers(binding, decoded)):
        decoded = _decode_row_by_row(body, kind, ndjson, bounds, max_readings, binding)
    return decoded


def covers(binding: Binding, decoded: Decoded) -> bool:
    """Whether all these readings are of devices that the key may post for."""
    return all(binding.covers(reading[0]) for readings in (decoded.meters, decoded.vehicles) for reading in readings)


# ── The fast decoder ─────────────────────────────────────────────────────────────────────────────────────────


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
    METER: _derive("MeterRow", _SCHEMAS[METER]),
    VEHICLE: _derive("VehicleRow", _SCHEMAS[VEHICLE]),
    None: _derive("AnyRow", *_SCHEMAS.values()),
}
_DECODERS: dict[Kind | None, msgspec.json.Decoder] = {
    kind: msgspec.json.Decoder(struct | GenericAlias(list, struct)) for kind, struct in _STRUCTS.items()
}
_LINE_DECODERS: dict[Kind | None, msgspec.json.Decoder] = {
    kind: msgspec.json.Decoder(struct) for kind, struct in _STRUCTS.items()
}


def decode_fast(body: bytes, kind: Kind | None, ndjson: bool, bounds: Bounds, max_readings: int) -> Decoded | None:
    """The readings of a body in which every row is valid; None if the schemas must decide. Raises TooManyReadings."""
    try:
        rows = _LINE_DECODERS[kind].decode_lines(body) if ndjson else _DECODERS[kind].decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    decoded = Decoded(is_single=not isinstance(rows, list))
    rows = [rows] if decoded.is_single else rows
    if len(rows) > max_readings:
        raise TooManyReadings(len(rows))
    # Plain tuples: making a MeterReading takes as long as decoding it.
    reading: Any
    for row in rows:
        row_kind = _kind_of_row(row, kind)
        if row_kind is None or not bounds.earliest <= row.timestamp <= bounds.latest:
            return None
        if row_kind is METER:
            reading = (row.meterId, to_microseconds(row.timestamp), row.kwhConsumedAc, row.voltage)
            decoded.meters.append(reading)
        else:
            soc = None if row.soc is msgspec.UNSET else row.soc
            reading = (row.vehicleId, to_microseconds(row.timestamp), row.kwhDeliveredDc, row.batteryTemp, soc)
            decoded.vehicles.append(reading)
        if msgspec.UNSET in reading:  # a field its kind requires
            return None
    return decoded


def _kind_of_row(row: Any, path_kind: Kind | None) -> Kind | None:
    """None if the kind is not plain."""
    if path_kind is not None:
        return path_kind if row.type is msgspec.UNSET or row.type.lower() == path_kind.name else None
    if row.type is msgspec.UNSET:
        has_meter, has_vehicle = row.meterId is not msgspec.UNSET, row.vehicleId is not msgspec.UNSET
        return (METER if has_meter else VEHICLE) if has_meter != has_vehicle else None
    return KINDS.get(row.type.lower())


# ── The schemas' decoder ─────────────────────────────────────────────────────────────────────────────────────


def _decode_row_by_row(
    body: bytes, kind: Kind | None, ndjson: bool, bounds: Bounds, max_readings: int, binding: Binding | None = None
) -> Decoded:
    rows: Any = [line for line in body.split(b"\n") if line.strip()] if ndjson else parse_json(body)
    decoded = Decoded(is_single=isinstance(rows, dict))
    if not isinstance(rows, list):
        rows = [rows]
    if len(rows) > max_readings:
        raise TooManyReadings(len(rows))
    for index, row in enumerate(rows):
        try:
            row_kind, reading = _load_reading(parse_json(row) if ndjson else row, kind, bounds)
        except ValidationError as error:
            decoded.reject(index, error.normalized_messages())
        except Malformed as error:
            decoded.reject(index, {"_schema": [str(error)]})
        else:
            if binding and not binding.covers(reading[0]):
                decoded.reject(index, {row_kind.device_field: [FORBIDDEN_DEVICE]})
                decoded.forbidden += 1
            elif isinstance(reading, MeterReading):
                decoded.meters.append(reading)
            else:
                decoded.vehicles.append(reading)
    return decoded


def _load_reading(row: Any, path_kind: Kind | None, bounds: Bounds) -> tuple[Kind, MeterReading | VehicleReading]:
    """Raises marshmallow's ValidationError."""
    kind = _require_kind(row, path_kind)
    data: Any = _SCHEMAS[kind].load(row)
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
