"""What tests build: readings as devices send them, times, keys in headers, mappings."""

from datetime import UTC, datetime, timedelta


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
