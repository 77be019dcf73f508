"""Energy queries: any number of vehicles, each in a window of its own.

The rules are SQL functions: models/schema/feeds.sql has the division of shared meters, models/schema/energy.sql the
energy of a reading.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class EnergyQuery:
    """The energy that fed the vehicle in [start, end), by all of its meters or by one."""

    vehicle_id: str
    start: datetime
    end: datetime
    meter_id: str | None = None


def query_values(queries: Sequence[EnergyQuery], heartbeat_seconds: int) -> dict[str, Any]:
    """The values of `fed_spans` and of the statements around it. The number of a query is its place, from 0."""
    start, end = min(query.start for query in queries), max(query.end for query in queries)
    return {
        "vehicle_ids": [query.vehicle_id for query in queries],
        "meter_ids": [query.meter_id for query in queries],
        "starts": [query.start for query in queries],
        "ends": [query.end for query in queries],
        "start": start,
        "end": end,
        "first_hour": hour_of(start),
        "last_hour": hour_of(end + HOUR),
        "heartbeat_seconds": heartbeat_seconds,
    }


def hour_of(moment: datetime) -> datetime:
    """The UTC hour that holds the moment."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
