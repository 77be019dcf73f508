"""Efficiency, status and completeness in Python; models/schema/efficiency.sql has the same rules as SQL functions.

- Efficiency is DC energy / AC energy; unknown where the AC energy is not above 0.
- A vehicle is degraded if its efficiency is below the threshold (ALERT_THRESHOLD, in percent), and implausible if it is
  above 100 %: no charger delivers more than its meter counts, so a mapping is missing or a register is set wrongly. The
  percentage is rounded to six digits first, so that the last bit of a sum of binary numbers never decides.
- Completeness is the number of distinct instants / the number expected, one in each heartbeat, and at most 1. Nothing
  is expected of the future; where nothing is expected it is null.
"""

from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

HEALTHY, DEGRADED, IMPLAUSIBLE, UNKNOWN = STATUSES = ("healthy", "degraded", "implausible", "unknown")

MAX_PERCENT = 100
_PERCENT = Decimal("1e-6")


def efficiency(dc_kwh: float, ac_kwh: float) -> float | None:
    return dc_kwh / ac_kwh if ac_kwh > 0 else None


def efficiency_percent(dc_kwh: float, ac_kwh: float) -> Decimal | None:
    """Rounded to six digits, as Postgres does it: it casts a double to a numeric of 15 digits, and rounds half up."""
    found = efficiency(dc_kwh, ac_kwh)
    if found is None:
        return None
    percent = Decimal(f"{found * 100:.15g}")
    return percent.quantize(_PERCENT, ROUND_HALF_UP) if found < 1e6 else percent  # 15 digits have no sixth decimal


def status(dc_kwh: float, ac_kwh: float, threshold: float) -> str:
    percent = efficiency_percent(dc_kwh, ac_kwh)
    if percent is None:
        return UNKNOWN
    if percent < threshold:
        return DEGRADED
    return IMPLAUSIBLE if percent > MAX_PERCENT else HEALTHY


def completeness(
    instants: int, start: datetime, end: datetime, *, heartbeat_seconds: int, now: datetime
) -> float | None:
    """Of a device with this many distinct instants in [start, end): from 0 to 1, None if none was expected."""
    seconds = (min(end, now) - start).total_seconds()
    return min(1.0, instants * heartbeat_seconds / seconds) if seconds > 0 else None
