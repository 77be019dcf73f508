"""A request has one time: its window is validated and queried with the same `now`."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.factories import stamp, vehicle
from webapp.http import clock

NOW = datetime.now(UTC).replace(microsecond=0)


class Clock(datetime):
    """Shows NOW at first, and two seconds more at each further look."""

    looks = 0

    @classmethod
    def now(cls, tz=None):
        cls.looks += 1
        return NOW + timedelta(seconds=2 * (cls.looks - 1))


@pytest.fixture
def slow_clock(monkeypatch):
    monkeypatch.setattr(Clock, "looks", 0)
    monkeypatch.setattr(clock, "datetime", Clock)


def test_a_window_that_ends_now_is_queried_as_it_was_validated(client, send, slow_clock):
    send(vehicle())
    longest = {"from": stamp(NOW - timedelta(days=31))}
    answer = client.get("/v1/analytics/performance/V001", query_string=longest)
    assert answer.status_code == 200
    assert answer.json["window"] == {**longest, "to": stamp(NOW)}


@pytest.mark.parametrize("path", ["/v1/vehicles/V001/series", "/v1/analytics/performance/V001"])
def test_a_window_that_starts_after_the_request_is_refused(client, send, slow_clock, path):
    send(vehicle())
    answer = client.get(path, query_string={"from": stamp(NOW + timedelta(seconds=1))})
    assert (answer.status_code, answer.json["errors"]) == (422, {"from": ["Must be in the past."]})
