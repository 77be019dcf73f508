"""The fleet of the figures: 10,000 vehicles of the load tool's fleet, each with a meter; a reading a minute each.

Within a shift (an eighth of the day) a device's values stay the same. So the fragments of a body are made once a
shift, only the timestamp changes, and a sender needs little of the machine that it shares with the engine.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from random import random

from loadtool.bodies import Body, timestamp
from loadtool.fleet import MINUTES_A_DAY, Names, Vehicle

PAIRS = 10_000  # a meter and the vehicle that it feeds, numbered from 0
DEVICES = 2 * PAIRS
FLEET_DAY = DEVICES * MINUTES_A_DAY  # readings
SHIFTS = 8
NAMES = Names("V-{:05d}", "M-{:05d}")
_DAY = 20_000  # since 1970; the one whose values are used


def meter_id(pair: int) -> str:
    return NAMES.meter.format(pair)


def vehicle_id(pair: int) -> str:
    return NAMES.vehicle.format(pair)


@dataclass(frozen=True)
class ShiftValues:
    """The measurements of a pair in each minute of one shift: kWh, volts, °C, percent."""

    ac: float
    dc: float
    voltage: float
    temperature: float
    soc: float


def values_for(pair: int, shift: int) -> ShiftValues:
    meter, vehicle = _readings(pair, shift)
    return ShiftValues(
        meter["kwhConsumedAc"], vehicle["kwhDeliveredDc"], meter["voltage"], vehicle["batteryTemp"], vehicle["soc"]
    )


def _readings(pair: int, shift: int) -> tuple[dict, dict]:
    """Those of the shift's middle. Every vehicle has a state of charge here."""
    minute = _DAY * MINUTES_A_DAY + (2 * shift + 1) * MINUTES_A_DAY // SHIFTS // 2
    meter, vehicle = Vehicle(pair, NAMES).readings(minute)
    return meter, {"soc": 50.0, **vehicle}


def day_start(now: datetime | None = None) -> datetime:
    """The first minute of the fleet day that ends now."""
    return (now or datetime.now(UTC)).replace(second=0, microsecond=0) - timedelta(minutes=MINUTES_A_DAY - 1)


class Minutes:
    """Bodies with the fleet's readings minute by minute, `size` readings each, half of them vehicles'.

    Body n is the block n modulo `blocks` of the fleet, in the minute n // `blocks` after the start. NDJSON has a line
    for each reading.
    """

    def __init__(self, start: datetime, size: int, *, ndjson: bool = False):
        if DEVICES % size or size % 2:
            raise ValueError(f"a body of {size} readings does not divide the fleet")
        self.start, self.size, self._is_ndjson = start, size, ndjson
        self.blocks = DEVICES // size

    def body(self, n: int) -> bytes:
        minute, block = divmod(n, self.blocks)
        moment = self.start + timedelta(minutes=minute)
        return self._open_body(block, moment.hour * SHIFTS // 24).at(f"{moment:%Y-%m-%dT%H:%M:%SZ}".encode())

    @cache  # noqa: B019 - lives as long as its sender
    def _open_body(self, block: int, shift: int) -> Body:
        half = self.size // 2
        pairs = range(block * half, (block + 1) * half)
        return Body((reading for pair in pairs for reading in _readings(pair, shift)), is_ndjson=self._is_ndjson)


def singles() -> Iterator[bytes]:
    """Bodies of one reading each, of any device of the fleet, of now."""
    bodies = [Body([reading]) for pair in range(PAIRS) for reading in _readings(pair, 0)]
    while True:
        yield bodies[int(DEVICES * random())].at(timestamp())
