"""The content of the reading with number n, for the devices; queries.py has the same in SQL, for the audit.

The number travels as the energy, n/1000 kWh. Seven of ten readings are recorded when they are submitted, to the
second, so that a device often has several readings of one instant; the others are up to three hours late.
"""

from datetime import datetime, timedelta

from loadtool.fleet import Names, Vehicle

DEVICES = 40  # meters, and as many vehicles
NAMES = Names("V-{}", "M-{}")
LATE_SECONDS = 3 * 3600


def is_meter(kind: str, n: int) -> bool:
    return kind == "meter" or (kind == "mixed" and n % 2 == 0)


def reading(kind: str, at: datetime, n: int) -> dict:
    """The reading as a device sends it; `kind` and `at` are its submission's."""
    late = 0 if n % 10 < 7 else n * 48271 % LATE_SECONDS
    common = {"timestamp": (at - timedelta(seconds=late)).isoformat().replace("+00:00", "Z")}
    device = Vehicle(n // 2 % DEVICES, NAMES)
    if is_meter(kind, n):
        return common | {"meterId": device.meter_id, "kwhConsumedAc": n / 1000, "voltage": 200 + n % 50}
    vehicle = common | {"vehicleId": device.vehicle_id, "kwhDeliveredDc": n / 1000, "batteryTemp": n % 40}
    return vehicle if n % 3 == 0 else vehicle | {"soc": n % 101}
