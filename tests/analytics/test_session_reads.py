"""Reads of sessions may be costly: they leave connections for everybody else."""

import pytest

from tests.factories import ago, stamp
from webapp.http.bounds.places import Places


@pytest.fixture
def places(app, monkeypatch) -> Places:
    """Those of the application, without patience."""
    found = app.extensions["heavy_reads"]
    monkeypatch.setattr(found, "_patience", 0)
    return found


def test_a_key_has_its_share_of_session_reads(app, client, places):
    begun = client.post(
        "/v1/sessions", json={"vehicleId": "V001", "meterId": "M001", "startedAt": stamp(ago(minutes=5))}
    )
    reads = ["/v1/sessions", f"/v1/sessions/{begun.json['id']}"]
    with places.held("127.0.0.1"), places.held("127.0.0.1"):  # a quarter of 8
        for path in reads:
            answer = client.get(path)
            assert answer.status_code == 429, path
            assert "Too many reads of sessions" in answer.json["message"]
        assert client.get("/v1/alerts").status_code == 200
    for path in reads:
        assert client.get(path).status_code == 200, path


def test_all_session_reads_leave_half_of_the_connections(client, places):
    with places.held("a"), places.held("a"), places.held("b"), places.held("b"):
        assert client.get("/v1/sessions").status_code == 503
        assert client.get("/v1/alerts").status_code == 200
    assert client.get("/v1/sessions").status_code == 200
