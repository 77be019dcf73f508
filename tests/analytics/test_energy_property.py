"""Energy as SQL computes it, against the slow and obvious computation, on whatever hypothesis thinks of."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.analytics.energy.feeds import Asked
from models.analytics.energy.performance import get_performance, get_performances
from tests.analytics.slow_energy import Device, Fleet

# Midnight, and with it the border of two partitions, lies within.
BASE = datetime.now(UTC).replace(hour=22, minute=0, second=0, microsecond=0) - timedelta(days=3)
MINUTES = 5 * 60
METERS, VEHICLES = ("M1", "M2"), ("V1", "V2", "V3")
HEARTBEAT = 60

moments = st.integers(0, MINUTES).map(lambda minute: BASE + timedelta(minutes=minute))
# Few different values, so that dips, resets, repeats and rises are all frequent.
shown = st.sampled_from([0, 0.1, 0.5, 1, 2, 9, 9.5, 9.9, 10, 10.1, 12, 100, 99.9, 100.3, 90, 89.9])
windows = st.tuples(moments, moments).filter(lambda pair: pair[0] < pair[1])


@st.composite
def devices(draw) -> Device:
    recorded = draw(st.lists(st.tuples(moments, shown), max_size=25))
    return Device(
        register=draw(st.sampled_from(["interval", "cumulative"])),
        rated_power_kw=draw(st.sampled_from([None, None, 6, 30])),
        heartbeat_seconds=draw(st.sampled_from([HEARTBEAT, HEARTBEAT, 900])),
        # Received in the order drawn: some late, some of one instant twice.
        readings=[(at, BASE + timedelta(days=1, seconds=n), value) for n, (at, value) in enumerate(recorded)],
    )


feeds = st.lists(
    st.tuples(st.sampled_from(VEHICLES), st.sampled_from(METERS), windows).map(lambda f: (f[0], f[1], *f[2])),
    max_size=8,
    unique_by=lambda feed: feed[:3],
)
fleets = st.builds(
    Fleet,
    meters=st.fixed_dictionaries({name: devices() for name in METERS}),
    vehicles=st.fixed_dictionaries({name: devices() for name in VEHICLES}),
    feeds=feeds,
)


def store(database, fleet: Fleet) -> None:
    database.execute(
        """truncate meter_readings_history, vehicle_readings_history, devices, vehicle_meter_mapping,
                    charging_sessions"""
    )
    with database.cursor() as cursor:
        for kind, known, values in (("meter", fleet.meters, "230"), ("vehicle", fleet.vehicles, "25, 50")):
            for name, device in known.items():
                cursor.execute(
                    """insert into devices (kind, device_id, register, rated_power_kw, heartbeat_seconds)
                       values (%s, %s, %s, %s, %s)""",
                    [kind, name, device.register, device.rated_power_kw, device.heartbeat_seconds],
                )
                if device.readings:
                    cursor.executemany(
                        f"insert into {kind}_readings_history values (%s, %s, %s, {values}, '{name}')", device.readings
                    )
        for number, feed in enumerate(fleet.feeds):
            # Every other feed is a charging session: the two count alike.
            table = (
                "charging_sessions (vehicle_id, meter_id, started_at, ended_at)"
                if number % 2
                else ("vehicle_meter_mapping")
            )
            cursor.execute(f"insert into {table} values (%s, %s, %s, %s)", feed)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(fleet=fleets, window=windows, vehicle_id=st.sampled_from(VEHICLES))
def test_performance_is_what_the_slow_computation_says(database, fleet, window, vehicle_id):
    store(database, fleet)
    found = get_performance(database, vehicle_id, *window, heartbeat_seconds=HEARTBEAT)
    vehicle = fleet.vehicles[vehicle_id]
    assert found.dc_kwh == pytest.approx(vehicle.energy(*window))
    assert found.vehicle_points == sum(window[0] <= at < window[1] for at, *_ in vehicle.increments())
    overlapping = {f[1] for f in fleet.feeds if f[0] == vehicle_id and f[2] < window[1] and f[3] > window[0]}
    assert found.meters == sorted(overlapping)
    odd = vehicle.implausible(*window)
    for meter_id, kwh, points in zip(found.meters, found.meters_kwh, found.meters_points, strict=True):
        assert kwh == pytest.approx(fleet.attributed(vehicle_id, meter_id, *window), abs=1e-9)
        fed = [
            implausible
            for at, _, implausible in fleet.meters[meter_id].increments()
            if window[0] <= at < window[1] and vehicle_id in fleet.fed_at(meter_id, at)
        ]
        assert points == len(fed)
        odd += sum(fed)
    assert found.implausible == odd


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(fleet=fleets, cuts=st.lists(moments, min_size=3, max_size=5, unique=True).map(sorted))
def test_nothing_of_a_meter_is_lost_or_doubled(database, fleet, cuts):
    """Whatever the windows and whoever shares: the parts add up to what was counted while anybody was fed."""
    store(database, fleet)
    pieces = list(pairwise(cuts))
    asked = [Asked(name, *piece) for name in VEHICLES for piece in pieces]
    parts = get_performances(database, asked, heartbeat_seconds=HEARTBEAT)
    for meter_id in METERS:
        given_out = sum(
            kwh for part in parts for name, kwh in zip(part.meters, part.meters_kwh, strict=True) if name == meter_id
        )
        counted = sum(
            kwh
            for at, kwh, _ in fleet.meters[meter_id].increments()
            if cuts[0] <= at < cuts[-1] and fleet.fed_at(meter_id, at)
        )
        assert given_out == pytest.approx(counted, abs=1e-9)
