"""The oracle: every rule of docs/analytics.md in plain Python, slow and obvious.

The SQL of models/analytics must give the same numbers for any readings, settings and feeds.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

HOUR = timedelta(hours=1)


@dataclass
class Device:
    """`readings` are (recorded_at, received_at, value in kWh)."""

    register: str = "interval"
    rated_power_kw: float | None = None
    heartbeat_seconds: int = 60
    readings: list[tuple[datetime, datetime, float]] = field(default_factory=list)

    def increments(self) -> list[tuple[datetime, float, bool]]:
        """(recorded_at, kWh, implausible) of each instant, in their order."""
        value_at = {}
        for recorded, _, value in sorted(self.readings, key=lambda reading: reading[:2]):
            value_at[recorded] = value  # the last accepted counts
        found, before = [], None
        for at, value in sorted(value_at.items()):
            energy = self._energy(value, before)
            implausible = self._is_implausible(energy, at, before)
            found.append((at, 0 if implausible else energy, implausible))
            before = (at, value)
        return found

    def _energy(self, value: float, before) -> float:
        if self.register == "interval":
            return value
        if before is None:
            return 0
        return value if value < 0.9 * before[1] else value - before[1]

    def _is_implausible(self, energy: float, at: datetime, before) -> bool:
        if self.rated_power_kw is None or before is None:
            return False
        seconds = (at - before[0]).total_seconds()
        if self.register == "interval":
            seconds = max(seconds, self.heartbeat_seconds)
        return energy > self.rated_power_kw * seconds / 3600 + 1e-6

    def energy(self, start: datetime, end: datetime) -> float:
        return sum(kwh for at, kwh, _ in self.increments() if start <= at < end)

    def implausible(self, start: datetime, end: datetime) -> int:
        return sum(implausible for at, _, implausible in self.increments() if start <= at < end)


@dataclass
class Fleet:
    """`feeds` are (vehicle, meter, from, to)."""

    meters: dict[str, Device]
    vehicles: dict[str, Device]
    feeds: list[tuple[str, str, datetime, datetime]]

    def fed_at(self, meter_id: str, at: datetime) -> set[str]:
        return {vehicle for vehicle, meter, start, end in self.feeds if meter == meter_id and start <= at < end}

    def share(self, vehicle_id: str, meter_id: str, at: datetime) -> float:
        """The vehicle's share of the meter's energy at this time: from 0 to 1."""
        together = self.fed_at(meter_id, at)
        if vehicle_id not in together:
            return 0
        if len(together) == 1:
            return 1
        start, end = self.segment(meter_id, at)
        drawn = {v: max(0, self.vehicles[v].energy(start, end)) if v in self.vehicles else 0 for v in together}
        total = sum(drawn.values())
        return drawn[vehicle_id] / total if total > 0 else 1 / len(together)

    def segment(self, meter_id: str, at: datetime) -> tuple[datetime, datetime]:
        """The longest time around `at`, within its hour, in which the meter feeds the same vehicles."""
        start = at.replace(minute=0, second=0, microsecond=0)
        bounds = sorted(
            bound
            for feed in self.feeds
            if feed[1] == meter_id
            for bound in feed[2:]
            if start < bound < start + HOUR
            and self.fed_at(meter_id, bound) != self.fed_at(meter_id, bound - timedelta(microseconds=1))
        )
        return (
            max([start, *(bound for bound in bounds if bound <= at)]),
            min([start + HOUR, *(bound for bound in bounds if bound > at)]),
        )

    def drawn_by_meters(self, vehicle_id: str, start: datetime, end: datetime) -> dict[tuple[str, ...], float]:
        """The vehicle's DC energy by the meters that fed it at the time, but what came while none did."""
        drawn: dict[tuple[str, ...], float] = {}
        for at, kwh, _ in self.vehicles[vehicle_id].increments():
            if start <= at < end and (
                meters := tuple(m for m in sorted(self.meters) if vehicle_id in self.fed_at(m, at))
            ):
                drawn[meters] = drawn.get(meters, 0) + kwh
        return drawn

    def is_shared(self, vehicle_id: str, start: datetime, end: datetime) -> bool:
        """Whether a meter fed the vehicle and another one at the same time within the window."""
        return any(
            own[1] == other[1] and max(own[2], other[2], start) < min(own[3], other[3], end)
            for own in self.feeds
            for other in self.feeds
            if own[0] == vehicle_id != other[0]
        )

    def attributed(self, vehicle_id: str, meter_id: str, start: datetime, end: datetime) -> float:
        return sum(
            kwh * self.share(vehicle_id, meter_id, at)
            for at, kwh, _ in self.meters[meter_id].increments()
            if start <= at < end
        )
