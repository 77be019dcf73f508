"""The fleet that the figures are taken with: 10,000 meters and 10,000 vehicles, a reading a minute each.

A body of a minute's readings is made in one `join`: its fragments are made once, and the timestamp goes between
them. So the sender costs the machine next to nothing, and yet no two bodies are the same.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

PAIRS = 10_000  # a meter and the vehicle that it feeds
DEVICES = 2 * PAIRS
MINUTES_A_DAY = 1_440
FLEET_DAY = DEVICES * MINUTES_A_DAY  # readings
# Of the day, the share in which all readings of a device say the same.
SHIFTS = 8
CHARGING = {0, 1, 4}  # the shifts from midnight to six, and the one at noon


def meter_id(pair: int) -> str:
    return f"M-{pair:05d}"


def vehicle_id(pair: int) -> str:
    return f"V-{pair:05d}"


@dataclass(frozen=True)
class ShiftValues:
    """What a pair's devices report in one shift: kWh a minute, volts, °C, percent."""

    ac: float
    dc: float
    voltage: float
    temperature: float
    soc: float


def values_for(pair: int, shift: int) -> ShiftValues:
    draw = random.Random(pair * SHIFTS + shift)
    efficiency = 0.74 + 0.22 * random.Random(pair).random()
    dc = round(0.3 + 0.7 * draw.random(), 4) if shift in CHARGING else 0.0
    return ShiftValues(
        ac=round(dc / efficiency + 0.0005, 5),
        dc=dc,
        voltage=round(228 + 6 * draw.random(), 1),
        temperature=round(18 + 15 * draw.random(), 1),
        soc=round(20 + 75 * draw.random(), 1),
    )


def meter_json(pair: int, shift: int, timestamp: str) -> str:
    v = values_for(pair, shift)
    return f'{{"meterId":"{meter_id(pair)}","kwhConsumedAc":{v.ac},"voltage":{v.voltage},"timestamp":"{timestamp}"}}'


def vehicle_json(pair: int, shift: int, timestamp: str) -> str:
    v = values_for(pair, shift)
    return (
        f'{{"vehicleId":"{vehicle_id(pair)}","kwhDeliveredDc":{v.dc},"batteryTemp":{v.temperature},'
        f'"soc":{v.soc},"timestamp":"{timestamp}"}}'
    )


def stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def day_start(now: datetime | None = None) -> datetime:
    """The minute with which a fleet day begins that ends now."""
    return (now or datetime.now(UTC)).replace(second=0, microsecond=0) - timedelta(minutes=MINUTES_A_DAY - 1)


class Minutes:
    """Bodies that bring the fleet's readings minute by minute, `size` readings each, half of them vehicles'.

    Body n is the block n modulo `blocks` of the fleet, in the minute n // `blocks` after the start. NDJSON has a line
    for each reading.
    """

    _MARK = "\0"

    def __init__(self, start: datetime, size: int, *, ndjson: bool = False):
        if DEVICES % size or size % 2:
            raise ValueError(f"a body of {size} readings does not divide the fleet")
        self.start, self.size = start, size
        self.blocks = DEVICES // size
        self._between, self._ends = ("\n", ("", "\n")) if ndjson else (",", ("[", "]"))

    def body(self, n: int) -> bytes:
        minute, block = divmod(n, self.blocks)
        moment = self.start + timedelta(minutes=minute)
        return stamp(moment).encode().join(self._fragments(block, moment.hour * SHIFTS // 24))

    @cache  # noqa: B019 - lives as long as its sender
    def _fragments(self, block: int, shift: int) -> list[bytes]:
        first = block * self.size // 2
        text = self._between.join(
            reading(pair, shift, self._MARK)
            for pair in range(first, first + self.size // 2)
            for reading in (meter_json, vehicle_json)
        )
        return (self._ends[0] + text + self._ends[1]).encode().split(self._MARK.encode())


def singles() -> Iterator[bytes]:
    """Bodies of one reading each, of any device of the fleet, of now."""
    draw = random.Random()
    fragments = [
        reading(pair, 0, "\0").encode().split(b"\0") for pair in range(PAIRS) for reading in (meter_json, vehicle_json)
    ]
    while True:
        yield datetime.now(UTC).isoformat(timespec="milliseconds").encode().join(draw.choice(fragments))
