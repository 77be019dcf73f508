"""Meters and vehicles in answers: their readings, their state and their settings."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from models.devices.settings import Device
from models.readings import Kind
from models.storage.stored_readings import StoredReading
from webapp.http.answers import JsonObject, MeterId, Page, Time, VehicleId

ReceivedAt = Annotated[Time, Meta(description="when the service accepted it")]
# The bounds are those of a reading that is posted (webapp/ingest/schemas.py).
ConsumedKwh = Annotated[float, Meta(ge=0, le=1_000_000, description="kWh taken from the grid since the last reading")]
Volts = Annotated[float, Meta(ge=0, le=1000, description="V")]
DeliveredKwh = Annotated[
    float, Meta(ge=0, le=1_000_000, description="kWh that reached the battery since the last reading")
]
BatteryTemp = Annotated[float, Meta(ge=-60, le=150, description="°C")]
Percent = Annotated[float, Meta(ge=0, le=100)]

LastSeen = Annotated[Time, Meta(description="the newest reading's `timestamp`")]
Online = Annotated[bool, Meta(description="whether `lastSeen` is at most {offline_after_seconds} seconds ago")]

Register = Annotated[
    Literal["interval", "cumulative"],
    Meta(description="`interval`: a reading is the energy since the last; `cumulative`: a running counter"),
]
HeartbeatSeconds = Annotated[
    Annotated[int, Meta(ge=1)] | None, Meta(description="one reading is expected in each; null: {heartbeat_seconds}")
]
Name = Annotated[str | None, Meta(description="for people")]
Site = Annotated[str | None, Meta(description="where it is installed; the site of a meter determines its tariff")]
RatedPowerKw = Annotated[
    float | None, Meta(description="a reading with more energy than it allows counts as `implausible`")
]


class StoredMeterReading(JsonObject):
    """A reading of a meter."""

    meter_id: MeterId
    timestamp: Time
    received_at: ReceivedAt
    kwh_consumed_ac: ConsumedKwh
    voltage: Volts


class StoredVehicleReading(JsonObject):
    """A reading of a vehicle."""

    vehicle_id: VehicleId
    timestamp: Time
    received_at: ReceivedAt
    kwh_delivered_dc: DeliveredKwh
    battery_temp: BatteryTemp
    soc: Annotated[Percent | None, Meta(description="state of charge in percent; null: not in the reading")]


class LiveMeter(StoredMeterReading):
    """A meter: its newest reading, and its settings."""

    last_seen: LastSeen
    online: Online
    register: Register
    heartbeat_seconds: HeartbeatSeconds
    name: Name
    site: Site
    rated_power_kw: RatedPowerKw


class LiveVehicle(StoredVehicleReading):
    """A vehicle: its newest reading, its settings, and the meters that feed it."""

    soc: Annotated[
        Percent | None,
        Meta(description="state of charge in percent, of the newest reading that has one; null: none ever had"),
    ]
    last_seen: LastSeen
    online: Online
    register: Register
    heartbeat_seconds: HeartbeatSeconds
    name: Name
    site: Site
    rated_power_kw: RatedPowerKw
    meters: Annotated[list[MeterId], Meta(description="the meters that feed it now, by a mapping or a session")]


class MeterSettings(JsonObject):
    """The settings of a meter."""

    meter_id: MeterId
    register: Register
    heartbeat_seconds: HeartbeatSeconds
    name: Name
    site: Site
    rated_power_kw: RatedPowerKw


class VehicleSettings(JsonObject):
    """The settings of a vehicle."""

    vehicle_id: VehicleId
    register: Register
    heartbeat_seconds: HeartbeatSeconds
    name: Name
    site: Site
    rated_power_kw: RatedPowerKw


class LiveMeterPage(Page):
    """A page of meters."""

    items: list[LiveMeter]


class LiveVehiclePage(Page):
    """A page of vehicles."""

    items: list[LiveVehicle]


class MeterHistoryPage(Page):
    """A page of a meter's readings."""

    items: list[StoredMeterReading]


class VehicleHistoryPage(Page):
    """A page of a vehicle's readings."""

    items: list[StoredVehicleReading]


def reading_fields(kind: Kind, row: StoredReading) -> dict[str, Any]:
    """The fields of a StoredMeterReading or StoredVehicleReading."""
    return {
        kind.device_column: row.device_id,
        "timestamp": row.recorded_at,
        "received_at": row.received_at,
        **{column: getattr(row, column) for column in kind.value_columns},
    }


def settings_fields(device: Device) -> dict[str, Any]:
    """The settings in a LiveMeter, LiveVehicle, MeterSettings or VehicleSettings."""
    return {
        "register": device.register,
        "heartbeat_seconds": device.heartbeat_seconds,
        "name": device.name,
        "site": device.site,
        "rated_power_kw": device.rated_power_kw,
    }
