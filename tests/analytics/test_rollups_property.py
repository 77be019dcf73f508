"""Roll-ups kept up step by step, the same rebuilt from history, and a slow and obvious computation: all agree.

Whatever comes, in whatever order: late, repeated and corrected readings, registers that change, mappings and sessions
that come and go, meters that several vehicles share, and a watermark that moves on in between.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.analytics.rollups.watermark import rebuild
from models.readings import KINDS
from models.storage import stale_marks as marks
from tests.analytics.oracle import HOUR
from tests.analytics.world import BASE, MINUTES, World, at, beginnings, events
from tests.rollups import HEARTBEAT, hourly_rows, roll_up


def same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        for value, wanted in zip(found[key], row, strict=True):
            assert value == pytest.approx(wanted, abs=1e-9), (key, found[key], row)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    before=st.one_of(beginnings, st.just([])),
    happened=st.lists(events, min_size=1, max_size=10),
    crowd=st.sampled_from([1_000, 1]),
)
def test_incremental_rebuilt_and_slow_roll_ups_are_the_same(database, monkeypatch, before, happened, crowd):
    monkeypatch.setattr(marks, "MAX_DEVICES", crowd)
    world = World(database)
    for event in before + happened:
        world.happen(*event)
    roll_up(database, at(MINUTES + 60))
    assert database.execute("select count(*) from rollup_marks").fetchone() == (0,)
    incremental = {kind: hourly_rows(database, kind) for kind in KINDS}
    same(incremental["meter"], world.slow("meter"))
    # Whether a meter was shared is told by the feeds alone, and compared with the rebuilt ones below.
    without_shared = {key: (*row[:9], *row[10:]) for key, row in incremental["vehicle"].items()}
    same(without_shared, world.slow("vehicle"))
    for _ in rebuild(database, BASE - 3 * HOUR, None, heartbeat_seconds=HEARTBEAT):
        pass
    for kind in KINDS:
        same(hourly_rows(database, kind), incremental[kind])
