"""What the reading with number n says, in Python for the devices and in SQL for the audit.

The number travels as the energy, n/1000 kWh. Seven of ten readings are recorded when they are submitted, to the
second, so that a device often tells one instant twice; the others are up to three hours late.
"""

from datetime import datetime, timedelta

DEVICES = 40  # meters, and as many vehicles
LATE_SECONDS = 3 * 3600


def is_meter(kind: str, n: int) -> bool:
    return kind == "meter" or (kind == "mixed" and n % 2 == 0)


def reading(kind: str, at: datetime, n: int) -> dict:
    """The reading as a device sends it; `kind` and `at` are its submission's."""
    late = 0 if n % 10 < 7 else n * 48271 % LATE_SECONDS
    common = {"timestamp": (at - timedelta(seconds=late)).isoformat().replace("+00:00", "Z")}
    device = n // 2 % DEVICES
    if is_meter(kind, n):
        return common | {"meterId": f"M-{device}", "kwhConsumedAc": n / 1000, "voltage": 200 + n % 50}
    told = common | {"vehicleId": f"V-{device}", "kwhDeliveredDc": n / 1000, "batteryTemp": n % 40}
    return told if n % 3 == 0 else told | {"soc": n % 101}
