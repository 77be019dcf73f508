"""Series: the energy and means of one device in each bucket of a window (models/analytics/energy/buckets.py).

Whole UTC hours come from the roll-ups where these equal history: before the watermark, and not stale. All else comes
from history, in the same statement and snapshot: so a series is exact at any time, whatever is stale.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

import psycopg
from psycopg.rows import class_row

from models.readings import KINDS, METER, VEHICLE, Kind
from models.sql import read_sql

# The columns of a reading whose means a bucket has, in their order.
AVERAGED = {METER.name: ("voltage",), VEHICLE.name: ("battery_temp", "soc")}

_STATEMENTS = {name: read_sql(__file__, f"series_{name}") for name in KINDS}


@dataclass(frozen=True)
class Bucket:
    """Energy in kWh; means in the order of AVERAGED, None if no reading has the value."""

    starts: datetime
    ends: datetime
    kwh: float
    readings: int
    implausible: int
    averages: Sequence[float | None]


@dataclass(frozen=True)
class Series:
    """`watermark`: how far roll-ups were right and used; None: all comes from history."""

    watermark: datetime | None
    buckets: list[Bucket]


class _Row(NamedTuple):
    """A bucket with readings, by its place from 1; a single row without one if no bucket has any."""

    watermark: datetime | None
    place: int | None
    kwh: float
    readings: int
    implausible: int
    averages: list[float | None]


def get_series(
    connection: psycopg.Connection, kind: Kind, device_id: str, edges: Sequence[datetime], *, heartbeat_seconds: int
) -> Series:
    """The device's buckets between the edges (ascending, at least two), also those without a reading.

    `heartbeat_seconds` is that of devices without one of their own.
    """
    values = {
        "device": device_id,
        "starts": list(edges[:-1]),
        "ends": list(edges[1:]),
        "start": edges[0],
        "end": edges[-1],
        "heartbeat_seconds": heartbeat_seconds,
    }
    rows = connection.cursor(row_factory=class_row(_Row)).execute(_STATEMENTS[kind.name], values).fetchall()
    by_place = {row.place: row for row in rows}
    empty = _Row(None, None, 0.0, 0, 0, [None] * len(AVERAGED[kind.name]))
    buckets = []
    for place, (start, end) in enumerate(pairwise(edges), start=1):
        row = by_place.get(place, empty)
        buckets.append(Bucket(start, end, row.kwh, row.readings, row.implausible, row.averages))
    return Series(rows[0].watermark, buckets)
