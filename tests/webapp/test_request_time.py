"""A request has one time: validation, queries and the answer use the same."""

from datetime import UTC, datetime, timedelta

import pytest

from models.analytics.sessions.records import start_session
from tests.factories import stamp, vehicle
from webapp.http import clock

NOW = datetime.now(UTC).replace(microsecond=0)


class Clock(datetime):
    """NOW at the first call, and two seconds later at each further one."""

    calls = 0

    @classmethod
    def now(cls, tz=None):
        cls.calls += 1
        return NOW + timedelta(seconds=2 * (cls.calls - 1))


@pytest.fixture
def slow_clock(monkeypatch):
    monkeypatch.setattr(Clock, "calls", 0)
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


def test_a_session_that_ends_now_ends_at_the_time_of_the_request(client, database, slow_clock):
    session, _ = start_session(database, "V001", "M001", NOW - timedelta(hours=1))
    answer = client.post(f"/v1/sessions/{session.id}/end")
    assert (answer.json["endedAt"], answer.json["durationSeconds"]) == (stamp(NOW), 3600)


def test_an_open_session_lasts_until_the_time_of_the_request(client, database, slow_clock):
    session, _ = start_session(database, "V001", "M001", NOW - timedelta(hours=1))
    assert client.get(f"/v1/sessions/{session.id}").json["durationSeconds"] == 3600


def test_an_alert_is_acknowledged_at_the_time_of_the_request(client, path_values, slow_clock):
    answer = client.post(f"/v1/alerts/{path_values['alertId']}/acknowledge")
    assert answer.json["acknowledgedAt"] == stamp(NOW)


def test_a_device_is_offline_by_the_time_of_the_request(client, send, resources, slow_clock):
    silence = timedelta(seconds=resources.settings.offline_after_seconds)
    send(vehicle(at=NOW - silence), vehicle("V002", at=NOW - silence - timedelta(seconds=1)))
    Clock.calls = 0
    assert client.get("/v1/analytics/fleet").json["offline"]["vehicles"] == 1
