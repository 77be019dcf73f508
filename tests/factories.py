"""What tests build: readings as devices send them, times, keys in headers, mappings, a fleet with roll-ups."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg

from models.analytics.money.tariffs import Tariff, set_tariff
from models.devices.settings import set_device
from models.readings import METER
from tests.rollups import roll_up, start_watermark


def meter(device="M001", at: datetime | None = None, **values) -> dict:
    """A good meter reading, as a device sends it."""
    return {"meterId": device, "kwhConsumedAc": 1.5, "voltage": 230.0, "timestamp": stamp(at), **values}


def vehicle(device="V001", at: datetime | None = None, **values) -> dict:
    """A good vehicle reading, as a device sends it."""
    return {
        "vehicleId": device,
        "kwhDeliveredDc": 1.2,
        "batteryTemp": 25.0,
        "soc": 50.0,
        "timestamp": stamp(at),
        **values,
    }


def ago(**span) -> datetime:
    """A whole second in the past: `ago(minutes=5)`."""
    return (datetime.now(UTC) - timedelta(**span)).replace(microsecond=0)


def stamp(at: datetime | None) -> str:
    return (at or ago(seconds=1)).isoformat().replace("+00:00", "Z")


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def post_with_key(client, key: str, body=None, **more):
    """Posts one good reading, or `body`, as the owner of a key."""
    headers = bearer(key) | more.pop("headers", {})
    return client.post("/v1/telemetry", json=meter() if body is None else body, headers=headers, **more)


def map_meter(client, vehicle_id="V001", meter_id="M001", **span):
    """Maps a vehicle to a meter over HTTP: `map_meter(client, to=ago(hours=1))`."""
    body = {"vehicleId": vehicle_id, "meterId": meter_id, **{name: stamp(at) for name, at in span.items()}}
    return client.post("/v1/analytics/vehicle-mapping", json=body)


def create_fleet(client, send, database: psycopg.Connection) -> datetime:
    """A fleet whose readings are rolled up; returns the watermark, half past an hour of the last day.

    In the last 24 hours: V1 has an efficiency of 0.9 (healthy) and V2 of 0.8 (degraded); V3 is fed by no meter and V4
    has no readings (unknown). V5 and V6 share M3: 3/4 and 1/4 of its 10 kWh. M9 feeds nobody. The site of M1, M2 and
    M3, "depot", has a tariff of 0.3 EUR per kWh.
    """
    hour = ago(hours=3).replace(minute=0, second=0)
    for vehicle_id, meter_id in (("V1", "M1"), ("V2", "M2"), ("V5", "M3"), ("V6", "M3")):
        map_meter(client, vehicle_id, meter_id)
        set_device(database, METER, meter_id, {"site": "depot"})
    set_tariff(database, Tariff("depot", "EUR", "Europe/Berlin", Decimal("0.3")))
    start_watermark(database, hour)
    send(
        meter("M1", hour, kwhConsumedAc=10),
        vehicle("V1", hour, kwhDeliveredDc=9, batteryTemp=20),
        meter("M2", hour + timedelta(hours=1), kwhConsumedAc=20),
        vehicle("V2", hour + timedelta(hours=1), kwhDeliveredDc=16, batteryTemp=40),
        vehicle("V3", hour, kwhDeliveredDc=5, batteryTemp=30),
        vehicle("V4", hour - timedelta(days=3)),
        meter("M3", hour, kwhConsumedAc=10),
        vehicle("V5", hour, kwhDeliveredDc=6),
        vehicle("V6", hour, kwhDeliveredDc=2),
        meter("M9", hour, kwhConsumedAc=7),
    )
    watermark = hour + timedelta(minutes=90)
    roll_up(database, watermark)
    return watermark
