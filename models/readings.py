"""The two kinds of reading, as the stream and history hold them.

Times are whole microseconds since 1970-01-01 UTC: exact, small and fast to compare. Energy is in kWh, temperature in
°C, state of charge in percent, voltage in V.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

DEVICE_ID = re.compile(r"^[A-Za-z0-9._:-]{1,64}\Z")
DEVICE_ID_RULE = "Must be 1–64 characters of A–Z a–z 0–9 . _ : -"


class MeterReading(NamedTuple):
    """What a smart meter measured on the AC side."""

    meter_id: str
    recorded_at: int
    kwh_consumed_ac: float
    voltage: float


class VehicleReading(NamedTuple):
    """What a vehicle measured on the DC side. A `soc` of None is unknown, not 0."""

    vehicle_id: str
    recorded_at: int
    kwh_delivered_dc: float
    battery_temp: float
    soc: float | None


# A row of history: device id, recorded at, received at, then the values of its kind. A plain tuple, because a batch
# holds tens of thousands of them.
HistoryRow = tuple[Any, ...]


class Entry(msgspec.Struct, array_like=True, gc=False):
    """The accepted readings of one request, each kind in the order it was sent."""

    meters: list[MeterReading]
    vehicles: list[VehicleReading]
    request_id: str = ""


encode_entry = msgspec.msgpack.Encoder().encode
decode_entry = msgspec.msgpack.Decoder(Entry).decode


@dataclass(frozen=True, eq=False)  # compared by identity: there are two
class Kind:
    """Tables, columns and field names of one kind of device. Columns are in the order of a history row."""

    name: str
    history: str
    live: str
    device_column: str
    value_columns: tuple[str, ...]
    device_field: str  # the names of the HTTP contract
    value_fields: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.device_column, "recorded_at", "received_at", *self.value_columns)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the HTTP contract, in the order of a MeterReading or VehicleReading."""
        return (self.device_field, "timestamp", *self.value_fields)


METER = Kind(
    "meter",
    history="meter_readings_history",
    live="meter_readings_live",
    device_column="meter_id",
    value_columns=("kwh_consumed_ac", "voltage"),
    device_field="meterId",
    value_fields=("kwhConsumedAc", "voltage"),
)
VEHICLE = Kind(
    "vehicle",
    history="vehicle_readings_history",
    live="vehicle_readings_live",
    device_column="vehicle_id",
    value_columns=("kwh_delivered_dc", "battery_temp", "soc"),
    device_field="vehicleId",
    value_fields=("kwhDeliveredDc", "batteryTemp", "soc"),
)
KINDS = {kind.name: kind for kind in (METER, VEHICLE)}


def to_microseconds(moment: datetime) -> int:
    """An aware time as microseconds since the epoch, exact."""
    return (moment - EPOCH) // MICROSECOND


def to_datetime(microseconds: int) -> datetime:
    """The aware UTC time of a number of microseconds since the epoch."""
    return EPOCH + timedelta(microseconds=microseconds)


def rfc3339(moment: datetime, timespec: str = "auto") -> str:
    """An aware UTC time as text, such as 2026-02-10T10:30:00Z; `timespec` is that of `datetime.isoformat`."""
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")
