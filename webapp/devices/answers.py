"""Meters and vehicles in answers: their readings, their state and their settings."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from models.devices.settings import Device
from models.readings import Kind
from models.storage.stored_readings import StoredReading
from webapp.http.answers import JsonObject, MeterId, Page, Time, VehicleId

ReceivedAt = Annotated[
    Time, Meta(description="when the service accepted it; of several readings of one `timestamp` the latest counts")
]
# The bounds are those of a reading that is posted (webapp/ingest/schemas.py).
ConsumedKwh = Annotated[float, Meta(ge=0, le=1_000_000, description="kWh taken from the grid since the last reading")]
Volts = Annotated[float, Meta(ge=0, le=1000, description="V")]
DeliveredKwh = Annotated[
    float, Meta(ge=0, le=1_000_000, description="kWh that reached the battery since the last reading")
]
BatteryTemp = Annotated[float, Meta(ge=-60, le=150, description="°C")]
Percent = Annotated[float, Meta(ge=0, le=100)]


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


class DeviceSettings(JsonObject, kw_only=True):
    """Base of answers that have the settings of a device."""

    register: Annotated[
        Literal["interval", "cumulative"],
        Meta(description="`interval`: a reading is the energy since the last; `cumulative`: a running counter"),
    ]
    heartbeat_seconds: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="one reading is expected in each; null: {heartbeat_seconds}"),
    ]
    name: Annotated[str | None, Meta(description="for people")]
    site: Annotated[str | None, Meta(description="where it is installed; the site of a meter determines its tariff")]
    rated_power_kw: Annotated[
        float | None, Meta(description="a reading with more energy than it allows counts as `implausible`")
    ]


class MeterSettings(DeviceSettings):
    """The settings of a meter."""

    meter_id: MeterId


class VehicleSettings(DeviceSettings):
    """The settings of a vehicle."""

    vehicle_id: VehicleId


class LiveDevice(DeviceSettings, kw_only=True):
    """Base of live devices: the settings, and whether the device reports."""

    last_seen: Annotated[Time, Meta(description="the newest reading's `timestamp`")]
    online: Annotated[bool, Meta(description="whether `lastSeen` is at most {offline_after_seconds} seconds ago")]


class LiveMeter(LiveDevice):
    """A meter: its newest reading, and its settings."""

    meter_id: MeterId
    timestamp: Time
    received_at: ReceivedAt
    kwh_consumed_ac: ConsumedKwh
    voltage: Volts


class LiveVehicle(LiveDevice):
    """A vehicle: its newest reading, its settings, and the meters that feed it."""

    vehicle_id: VehicleId
    timestamp: Time
    received_at: ReceivedAt
    kwh_delivered_dc: DeliveredKwh
    battery_temp: BatteryTemp
    soc: Annotated[
        Percent | None,
        Meta(description="state of charge in percent, of the newest reading that has one; null: none ever had"),
    ]
    meters: Annotated[list[MeterId], Meta(description="the meters that feed it now, by a mapping or a session")]


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
    """The fields of DeviceSettings."""
    return {name: getattr(device, name) for name in DeviceSettings.__struct_fields__}
