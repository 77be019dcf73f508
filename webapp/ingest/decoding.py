"""Request bodies into readings: one contract, two engines.

The marshmallow schemas are the contract. The fast decoder is derived from them and takes what is plainly good,
in one pass in C (a reading costs about a microsecond); whatever it does not take goes through the schemas, row
by row, which have the last word and the words for the sender. tests/promises/test_contract.py holds the two together.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from marshmallow import Schema, ValidationError, fields, validate

from models.access.bindings import Binding
from models.readings import KINDS, METER, VEHICLE, MeterReading, VehicleReading, rfc3339, to_microseconds
from models.settings import Settings
from webapp.http.bodies import Malformed, parse_json
from webapp.http.fields import EARLIEST, Number, Timestamp
from webapp.ingest.schemas import MeterReadingSchema, VehicleReadingSchema

MAX_LISTED_ERRORS = 100
NOT_THIS_DEVICE = "This key may not post for this device."
_SCHEMAS = {METER.name: MeterReadingSchema(), VEHICLE.name: VehicleReadingSchema()}


class TooManyReadings(Exception):
    """The body holds more readings than one request may bring."""


@dataclass
class Decoded:
    """The readings of one body, each kind in the order it was sent, and the rows that were refused."""

    meters: list[tuple] = field(default_factory=list)
    vehicles: list[tuple] = field(default_factory=list)
    rejected: int = 0
    forbidden: int = 0  # of those rejected: good, but of devices that the key may not post for
    errors: list[dict] = field(default_factory=list)  # the first MAX_LISTED_ERRORS
    is_single: bool = False

    @property
    def accepted(self) -> int:
        return len(self.meters) + len(self.vehicles)

    def refuse(self, index: int, errors: dict) -> None:
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
    kind: str | None,
    ndjson: bool,
    bounds: Bounds,
    max_readings: int,
    binding: Binding | None = None,
) -> Decoded:
    """The readings of a body: one reading, an array of them, or NDJSON; of `kind`, or of either where it is None.

    `binding` refuses those of other devices. Raises Malformed or TooManyReadings.
    """
    decoded = decode_fast(body, kind, ndjson, bounds, max_readings)
    if decoded is None or (binding and not covers(binding, decoded)):
        decoded = _decode_row_by_row(body, kind, ndjson, bounds, max_readings, binding)
    return decoded


def covers(binding: Binding, decoded: Decoded) -> bool:
    """Whether all these readings are of devices that the key may post for."""
    return all(binding.covers(reading[0]) for readings in (decoded.meters, decoded.vehicles) for reading in readings)


# ── The fast engine ──────────────────────────────────────────────────────────────────────────────────────────


def _type_of(schema_field: fields.Field) -> Any:
    """The msgspec type that takes nothing but what the marshmallow field takes."""
    match schema_field:
        case Number():
            kind = float
            for rule in schema_field.validators:
                if isinstance(rule, validate.Range):
                    kind = Annotated[float, msgspec.Meta(ge=rule.min, le=rule.max)]
        case Timestamp():
            kind = Annotated[datetime, msgspec.Meta(tz=True)]
        case fields.String(validators=[validate.Regexp(regex=pattern)]):
            kind = Annotated[str, msgspec.Meta(pattern=pattern.pattern)]
        case fields.String():
            kind = str
        case _:
            raise TypeError(f"no fast type for {schema_field!r}")
    return kind | None if schema_field.allow_none else kind


def _derive(name: str, *schemas: Schema) -> type[msgspec.Struct]:
    """A struct with the fields of the schemas; what is not required, or not by all of them, may be left out."""
    merged: dict[str, fields.Field] = {}
    for schema in schemas:
        merged.update(schema.fields)
    required, optional = [], []
    for key, schema_field in merged.items():
        if all(key in schema.fields and schema.fields[key].required for schema in schemas):
            required.append((key, _type_of(schema_field)))
        else:
            optional.append((key, _type_of(schema_field) | msgspec.UnsetType, msgspec.UNSET))
    return msgspec.defstruct(name, required + optional, gc=False)


_STRUCTS = {
    METER.name: _derive("MeterRow", _SCHEMAS[METER.name]),
    VEHICLE.name: _derive("VehicleRow", _SCHEMAS[VEHICLE.name]),
    None: _derive("AnyRow", *_SCHEMAS.values()),
}
_DECODERS = {kind: msgspec.json.Decoder(struct | list[struct]) for kind, struct in _STRUCTS.items()}
_LINE_DECODERS = {kind: msgspec.json.Decoder(struct) for kind, struct in _STRUCTS.items()}


def decode_fast(body: bytes, kind: str | None, ndjson: bool, bounds: Bounds, max_readings: int) -> Decoded | None:
    """The readings of a body in which every row is plainly good; None where any is not. Raises TooManyReadings."""
    try:
        rows = _LINE_DECODERS[kind].decode_lines(body) if ndjson else _DECODERS[kind].decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    decoded = Decoded(is_single=not isinstance(rows, list))
    rows = [rows] if decoded.is_single else rows
    if len(rows) > max_readings:
        raise TooManyReadings(len(rows))
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


def _kind_of_row(row: msgspec.Struct, path_kind: str | None):
    """METER or VEHICLE where that is plain, else None."""
    if path_kind is not None:
        return KINDS[path_kind] if row.type is msgspec.UNSET or row.type.lower() == path_kind else None
    if row.type is msgspec.UNSET:
        has_meter, has_vehicle = row.meterId is not msgspec.UNSET, row.vehicleId is not msgspec.UNSET
        return (METER if has_meter else VEHICLE) if has_meter != has_vehicle else None
    return KINDS.get(row.type.lower())


# ── The engine with the last word ────────────────────────────────────────────────────────────────────────────


def _decode_row_by_row(
    body: bytes, kind: str | None, ndjson: bool, bounds: Bounds, max_readings: int, binding: Binding | None = None
) -> Decoded:
    rows = [line for line in body.split(b"\n") if line.strip()] if ndjson else parse_json(body)
    decoded = Decoded(is_single=isinstance(rows, dict))
    if not isinstance(rows, list):
        rows = [rows]
    if len(rows) > max_readings:
        raise TooManyReadings(len(rows))
    for index, row in enumerate(rows):
        try:
            row_kind, reading = load_reading(parse_json(row) if ndjson else row, kind, bounds)
        except ValidationError as error:
            decoded.refuse(index, error.normalized_messages())
        except Malformed as error:
            decoded.refuse(index, {"_schema": [str(error)]})
        else:
            if binding and not binding.covers(reading[0]):
                decoded.refuse(index, {row_kind.device_field: [NOT_THIS_DEVICE]})
                decoded.forbidden += 1
                continue
            (decoded.meters if row_kind is METER else decoded.vehicles).append(reading)
    return decoded


def load_reading(row: Any, path_kind: str | None, bounds: Bounds) -> tuple:
    """The kind and the reading of one parsed row. Raises marshmallow's ValidationError."""
    kind = KINDS[_kind_name(row, path_kind)]
    data = _SCHEMAS[kind.name].load(row)
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


def _kind_name(row: Any, path_kind: str | None) -> str:
    if not isinstance(row, dict):
        raise ValidationError("A reading must be a JSON object.")
    if "type" in row:
        told = row["type"].lower() if isinstance(row["type"], str) else None
        if told not in KINDS:
            raise ValidationError("Must be `meter` or `vehicle`.", "type")
        if path_kind not in (None, told):
            raise ValidationError(f"This path takes {path_kind} readings only.", "type")
        return told
    if path_kind is not None:
        return path_kind
    if ("meterId" in row) == ("vehicleId" in row):
        raise ValidationError("Must be given where not exactly one of `meterId` and `vehicleId` is.", "type")
    return METER.name if "meterId" in row else VEHICLE.name
