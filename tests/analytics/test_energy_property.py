"""Energy computed by SQL equals that of the oracle, for fleets drawn by Hypothesis."""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.analytics.energy.performance import get_performance, get_performances
from models.analytics.energy.queries import EnergyQuery
from tests.analytics.drawn_fleets import HEARTBEAT, METERS, VEHICLES, fleets, moments, store_fleet, windows

pytestmark = pytest.mark.slow


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(fleet=fleets, window=windows, vehicle_id=st.sampled_from(VEHICLES))
def test_performance_is_that_of_the_oracle(database, fleet, window, vehicle_id):
    store_fleet(database, fleet)
    found = get_performance(database, vehicle_id, *window, heartbeat_seconds=HEARTBEAT)
    vehicle = fleet.vehicles[vehicle_id]
    assert found.dc_kwh == pytest.approx(vehicle.energy(*window))
    assert found.vehicle_points == sum(window[0] <= at < window[1] for at, *_ in vehicle.increments())
    overlapping = {f[1] for f in fleet.feeds if f[0] == vehicle_id and f[2] < window[1] and f[3] > window[0]}
    assert found.meters == sorted(overlapping)
    odd = vehicle.implausible(*window)
    for meter_id, kwh, points, _ in found.meter_shares:
        assert kwh == pytest.approx(fleet.attributed(vehicle_id, meter_id, *window), abs=1e-9)
        fed = [
            implausible
            for at, _, implausible in fleet.meters[meter_id].increments()
            if window[0] <= at < window[1] and vehicle_id in fleet.fed_at(meter_id, at)
        ]
        assert points == len(fed)
        odd += sum(fed)
    assert found.implausible == odd


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(fleet=fleets, cuts=st.lists(moments, min_size=3, max_size=5, unique=True).map(sorted))
def test_the_shares_of_a_meter_add_up_to_its_energy(database, fleet, cuts):
    """The vehicles' shares in adjoining windows add up to what the meter counted while it fed a vehicle."""
    store_fleet(database, fleet)
    pieces = list(pairwise(cuts))
    queries = [EnergyQuery(name, *piece) for name in VEHICLES for piece in pieces]
    performances = get_performances(database, queries, heartbeat_seconds=HEARTBEAT)
    for meter_id in METERS:
        shared_kwh = sum(
            share.kwh for found in performances for share in found.meter_shares if share.meter_id == meter_id
        )
        counted = sum(
            kwh
            for at, kwh, _ in fleet.meters[meter_id].increments()
            if cuts[0] <= at < cuts[-1] and fleet.fed_at(meter_id, at)
        )
        assert shared_kwh == pytest.approx(counted, abs=1e-9)
