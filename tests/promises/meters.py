"""Readings of many meters, one of each."""

from tests.factories import meter


def post_meters(client, count: int, start: int = 0) -> list[str]:
    """Posts single readings, each of another meter; returns the ids of the meters."""
    names = [f"M{number:05d}" for number in range(start, start + count)]
    for name in names:
        assert client.post("/v1/telemetry", json=meter(name)).status_code == 202
    return names


def stored_meters(database) -> list[str]:
    return [name for (name,) in database.execute("select meter_id from meter_readings_history order by 1").fetchall()]
