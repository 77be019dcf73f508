"""Counters of readings, summed over the web's live processes."""

from prometheus_client import Counter

from models.observability.metrics import make_series

READINGS_ACCEPTED = Counter("energy_readings_accepted_total", "Readings accepted", ["kind"])
READINGS_REJECTED = Counter("energy_readings_rejected_total", "Readings refused one by one, by reason", ["reason"])
READINGS_WITH_IGNORED = Counter(
    "energy_readings_with_ignored_fields_total", "Readings accepted with fields that no reading of their kind has"
)

_METERS, _VEHICLES = READINGS_ACCEPTED.labels("meter"), READINGS_ACCEPTED.labels("vehicle")
make_series(READINGS_REJECTED, "validation", "forbidden", "device_limit", "atomic")


def count_accepted(meters: int, vehicles: int) -> None:
    """`meters` and `vehicles`: how many readings of each kind were accepted."""
    if meters:
        _METERS.inc(meters)
    if vehicles:
        _VEHICLES.inc(vehicles)


def count_rejected(readings: int, reason: str) -> None:
    """`reason`: validation, forbidden, device_limit, or atomic (valid, of a request that is accepted as a whole)."""
    if readings:
        READINGS_REJECTED.labels(reason).inc(readings)


def count_with_ignored(readings: int) -> None:
    """`readings`: how many were accepted with fields that were ignored."""
    if readings:
        READINGS_WITH_IGNORED.inc(readings)
