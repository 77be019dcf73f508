"""Roll-ups kept up step by step, roll-ups rebuilt from history, and those of the oracle are the same.

For any sequence of events: late, repeated and corrected readings, changed registers, mappings and sessions that are
made, shortened and removed, shared meters, and a watermark that moves in between.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.analytics.energy.performance import get_performance
from models.analytics.fleet.summary import FleetQuery, Window, list_vehicles
from models.analytics.rollups.watermark import rebuild
from models.readings import KINDS
from models.storage import stale_marks
from tests.analytics.oracle import HOUR
from tests.analytics.world import BASE, MINUTES, World, at, beginnings, events
from tests.rollups import HEARTBEAT, hourly_rows, roll_up

pytestmark = pytest.mark.slow


def assert_same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        for value, wanted in zip(found[key], row, strict=True):
            assert value == pytest.approx(wanted, abs=1e-9), (key, found[key], row)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    before=st.one_of(beginnings, st.just([])),
    then=st.lists(events, min_size=1, max_size=10),
    max_devices=st.sampled_from([1_000, 1]),
)
def test_incremental_and_rebuilt_roll_ups_are_those_of_the_oracle(database, monkeypatch, before, then, max_devices):
    monkeypatch.setattr(stale_marks, "MAX_DEVICES", max_devices)
    world = World(database)
    for event in before + then:
        world.apply(*event)
    roll_up(database, at(MINUTES + 60))
    assert database.execute("select count(*) from rollup_marks").fetchone() == (0,)
    incremental = {kind: hourly_rows(database, kind) for kind in KINDS}
    assert_same(incremental["meter"], world.expected("meter"))
    assert_same(incremental["vehicle"], world.expected("vehicle"))
    for _ in rebuild(database, BASE - 3 * HOUR, None, heartbeat_seconds=HEARTBEAT):
        pass
    for kind in KINDS:
        assert_same(hourly_rows(database, kind), incremental[kind])


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(before=st.one_of(beginnings, st.just([])), then=st.lists(events, min_size=1, max_size=10))
def test_a_vehicle_of_the_fleet_has_the_numbers_of_its_performance(database, before, then):
    world = World(database)
    for event in before + then:
        world.apply(*event)
    roll_up(database, at(MINUTES + 60))
    window = Window((BASE - 2 * HOUR).replace(minute=0), at(MINUTES + 60))
    for found in list_vehicles(database, FleetQuery(window, 85, HEARTBEAT), sort="efficiency", limit=10):
        span = (window.start, window.end)
        performance = get_performance(database, found.vehicle_id, *span, heartbeat_seconds=HEARTBEAT)
        assert found.dc_kwh == pytest.approx(performance.dc_kwh)
        assert found.ac_kwh == pytest.approx(performance.ac_kwh, abs=1e-9)
        assert found.shared == performance.shared == world.fleet.is_shared(found.vehicle_id, *span)
