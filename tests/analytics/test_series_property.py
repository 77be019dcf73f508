"""Series are those of the oracle at any time: before, while and after their hours are rolled up."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.analytics.energy.buckets import bucket_edges
from models.analytics.energy.series import get_series
from models.readings import KINDS
from tests.analytics.world import METERS, MINUTES, VEHICLES, World, at, events, minutes
from tests.rollups import HEARTBEAT

pytestmark = pytest.mark.slow

WINDOWS = st.tuples(minutes, st.integers(1, MINUTES + 180)).map(lambda drawn: (at(drawn[0]), at(sum(drawn))))
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns"])


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    happenings=st.lists(events, min_size=1, max_size=14),
    window=WINDOWS,
    bucket=st.sampled_from(["15m", "1h", "1d", "1w"]),
    zone=ZONES.map(ZoneInfo),
    name=st.sampled_from([*METERS, *VEHICLES]),
)
def test_series_are_those_of_the_oracle_whatever_is_rolled_up(database, happenings, window, bucket, zone, name):
    world = World(database)
    kind, device = world.device(name)
    edges = bucket_edges(*window, bucket, zone)
    for event in happenings:
        world.apply(*event)
        series = get_series(database, KINDS[kind], name, edges, heartbeat_seconds=HEARTBEAT)
        assert [found.starts for found in series.buckets] == edges[:-1]
        increments = device.increments()
        for found in series.buckets:
            instants = [row for row in increments if found.starts <= row[0] < found.ends]
            assert found.kwh == pytest.approx(sum(kwh for _, kwh, _ in instants), abs=1e-9)
            assert (found.readings, found.implausible) == (len(instants), sum(odd for *_, odd in instants))
            others = [world.more[name, moment] for moment, *_ in instants]
            assert found.averages[0] == mean([value for value, _ in others])
            if kind == "vehicle":
                assert found.averages[1] == mean([soc for _, soc in others if soc is not None])


def mean(values: list[float]):
    return pytest.approx(sum(values) / len(values)) if values else None
