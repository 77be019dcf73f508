"""The synthetic fleet: what a vehicle and its meter measure in a given minute, the same on every machine.

A vehicle's day is drawn from its number and the date: a charge at night, a drive, a charge around noon, a drive.
It starts and ends each day with the same state of charge, so that days fit together.
"""

import math
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

MINUTES_A_DAY = 24 * 60
NOON = 12 * 60
AMBIENT_TEMP = 18.0  # °C, the day's mean
WARMING_MINUTES = 25.0  # in which a battery reaches 63 % of the warming of a load
STANDBY_KWH = 0.0005  # drawn by a charger in a minute without a vehicle


class Names(NamedTuple):
    """Patterns of device ids, for str.format with the vehicle's number."""

    vehicle: str
    meter: str


SIMULATED = Names("SIM-V{:03d}", "SIM-M{:03d}")


@dataclass(frozen=True)
class Phase:
    """A part of the day, to minute `end`, over which the state of charge goes to `soc` percent."""

    end: int
    soc: float
    is_charge: bool
    warming: float  # °C above ambient, reached in the long run


@dataclass(frozen=True)
class Vehicle:
    """A vehicle and the meter of its charger."""

    number: int
    names: Names = SIMULATED

    @property
    def vehicle_id(self) -> str:
        return self.names.vehicle.format(self.number)

    @property
    def meter_id(self) -> str:
        return self.names.meter.format(self.number)

    @property
    def battery_kwh(self) -> float:
        return (40.0, 52.0, 64.0, 77.0)[self.number % 4]

    @property
    def has_fault(self) -> bool:
        """From noon on its charger loses a third of the energy, and the battery runs hot."""
        return self.number % 12 == 3

    @property
    def is_degraded(self) -> bool:
        return self.number % 12 == 7

    @property
    def omits_soc(self) -> bool:
        """Sometimes a reading has no state of charge."""
        return self.number % 10 == 5

    def efficiency(self, minute_of_day: int) -> float:
        """DC/AC while charging."""
        (draw,) = _draws(1, "efficiency", self.number)
        if self.has_fault and minute_of_day >= NOON:
            return 0.62
        return 0.74 + 0.08 * draw if self.is_degraded else 0.87 + 0.09 * draw

    def charge(self, kwh: float) -> tuple[dict, dict]:
        """The meter's and the vehicle's reading of a charge that draws `kwh` from the grid, without a timestamp."""
        meter = {"meterId": self.meter_id, "kwhConsumedAc": kwh, "voltage": 230.0}
        dc = round(kwh * self.efficiency(0), 5)
        return meter, {"vehicleId": self.vehicle_id, "kwhDeliveredDc": dc, "batteryTemp": 25.0, "soc": 50.0}

    def readings(self, minute: int) -> tuple[dict, dict]:
        """The meter's and the vehicle's reading of this minute since 1970, as the API takes them."""
        day, now = divmod(minute, MINUTES_A_DAY)
        start, start_soc, phase, excess = _at(self.number, day, now)
        wobble, sag, warmth, omission = _draws(4, "minute", self.number, minute)
        share = (now - start) / (phase.end - start)
        soc = start_soc + (phase.soc - start_soc) * share
        dc = ac = 0.0
        if phase.is_charge:
            dc = self.battery_kwh * (phase.soc - start_soc) / 100 / (phase.end - start) * (0.97 + 0.06 * wobble)
            ac = dc / self.efficiency(now)
        fault_warmth = 9.0 if self.has_fault and now >= NOON else 0.0
        # Coolest at four in the morning, warmest at four in the afternoon.
        ambient = AMBIENT_TEMP - 6 * math.cos((now / 60 - 4) / 24 * 2 * math.pi)
        timestamp = datetime.fromtimestamp(minute * 60, UTC)
        vehicle = {
            "vehicleId": self.vehicle_id,
            "timestamp": timestamp,
            "kwhDeliveredDc": round(dc, 5),
            "batteryTemp": round(ambient + excess + fault_warmth + 0.4 * (warmth - 0.5), 2),
        }
        if not (self.omits_soc and omission < 0.08):
            vehicle["soc"] = round(soc, 2)
        meter = {
            "meterId": self.meter_id,
            "timestamp": timestamp,
            "kwhConsumedAc": round(ac + STANDBY_KWH, 5),
            "voltage": round(231.5 - 3.0 * phase.is_charge + 3.0 * (sag - 0.5), 2),
        }
        return meter, vehicle


def fleet(count: int, names: Names = SIMULATED) -> list[Vehicle]:
    """Vehicles 1 to `count`."""
    return [Vehicle(number, names) for number in range(1, count + 1)]


@lru_cache(maxsize=200_000)
def _plan(number: int, day: int) -> tuple[float, tuple[Phase, ...]]:
    """The state of charge at midnight, and the phases of the day."""
    (rest,) = _draws(1, "rest", number)
    a, b, c, d, e, f, full, noon_low, noon_high, heat = _draws(10, "day", number, day)
    midnight_soc = 22 + 18 * rest
    night, leave, back = 20 + int(70 * a), 6 * 60 + int(90 * b), 10 * 60 + int(60 * c)
    plug, unplug, home = back + 15 + int(60 * d), 13 * 60 + int(45 * e), 18 * 60 + int(120 * f)
    low, high = 38 + 15 * noon_low, 72 + 16 * noon_high
    return midnight_soc, (
        Phase(night, midnight_soc, False, 0),
        Phase(leave - 40, 88 + 10 * full, True, 6 + 3 * heat),
        Phase(leave, 88 + 10 * full, False, 0),
        Phase(back, low, False, 9 + 4 * heat),
        Phase(plug, low, False, 0),
        Phase(unplug, high, True, 13 + 5 * heat),
        Phase(unplug + 60, high, False, 0),
        Phase(home, midnight_soc, False, 9 + 4 * heat),
        Phase(MINUTES_A_DAY, midnight_soc, False, 0),
    )


def _at(number: int, day: int, now: int) -> tuple[int, float, Phase, float]:
    """When the phase of this minute began, with which state of charge; the phase; and the warming (°C) until now."""
    soc, phases = _plan(number, day)
    start, excess = 0, 0.0
    for phase in phases:
        minutes = min(now, phase.end) - start
        excess = phase.warming + (excess - phase.warming) * math.exp(-minutes / WARMING_MINUTES)
        if now < phase.end:
            return start, soc, phase, excess
        start, soc = phase.end, phase.soc
    raise ValueError(f"a day has no minute {now}")


def _draws(count: int, *of: object) -> tuple[float, ...]:
    """Numbers in [0, 1), the same for the same arguments on every machine."""
    digest = blake2b(repr(of).encode(), digest_size=2 * count).digest()
    return tuple(number / 65536 for number in struct.unpack(f">{count}H", digest))
