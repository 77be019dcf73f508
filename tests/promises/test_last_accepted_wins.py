"""Of several submissions for one instant the one accepted last counts, on whichever shards, by whichever process."""

import time
from dataclasses import replace
from itertools import cycle

import pytest

from models.readings import Entry, encode_entry, to_microseconds
from models.stream.keys import RECEIVED_KEY, stream_key
from models.stream.telemetry import TelemetryStream
from tests.factories import ago, meter, stamp
from tests.stream.owners import OWNERS

WRONG, RIGHT = 1.0, 2.0


@pytest.fixture
def processes(resources):
    """The streams of two web processes, in turn."""
    streams = [TelemetryStream(replace(resources.settings)) for _ in range(2)]
    yield cycle(streams)
    for stream in streams:
        stream.close()


def submit(stream: TelemetryStream, owner: str, minute: int, *values: float):
    """Submissions for one instant of the meter M001, in one entry; returns once they are accepted."""
    at = to_microseconds(ago(hours=40).replace(minute=0, second=0)) + minute * 60_000_000
    entry = Entry([("M001", at, value, 230.0) for value in values], [])
    return stream.append(encode_entry(entry), owner, readings=len(values))


def energy(client) -> float:
    series = client.get("/v1/meters/M001/series", query_string={"from": stamp(ago(days=3)), "bucket": "1d"}).json
    return sum(bucket["energy"] or 0 for bucket in series["buckets"])


def test_a_correction_counts_whichever_shards_and_processes_accept_the_two(client, processes, drain_all):
    """Most pairs are accepted within a millisecond."""
    pairs = 300
    for minute in range(pairs):
        first = submit(next(processes), OWNERS[1 - minute % 2], minute, WRONG)
        second = submit(next(processes), OWNERS[minute % 2], minute, RIGHT)
        assert second.entry_id.received_at > first.entry_id.received_at
        next(processes)
    drain_all()
    assert energy(client) == pairs * RIGHT
    assert client.get("/v1/meters/M001").json["kwhConsumedAc"] == RIGHT
    lines = client.get("/v1/export/readings", query_string={"kind": "meter", "from": stamp(ago(days=3))}).text
    columns, *rows = [line.split(",") for line in lines.splitlines()]
    place = [columns.index(name) for name in ("timestamp", "receivedAt", "kwhConsumedAc")]
    exported = {at: float(kwh) for at, _, kwh in sorted([row[index] for index in place] for row in rows)}
    assert set(exported.values()) == {RIGHT}
    history = client.get("/v1/meters/M001/history", query_string={"from": stamp(ago(days=3)), "limit": 1000}).json
    newest = {item["timestamp"]: item for item in sorted(history["items"], key=lambda item: item["receivedAt"])}
    assert {item["kwhConsumedAc"] for item in newest.values()} == {RIGHT}


def test_a_correction_counts_after_many_submissions_in_one_request(client, processes, drain_all):
    submit(next(processes), OWNERS[1], 0, *[WRONG] * 10_000)
    submit(next(processes), OWNERS[0], 0, RIGHT)
    drain_all()
    assert energy(client) == RIGHT


def test_a_correction_counts_after_the_clock_of_redis_was_set_back(client, processes, broker, drain_all):
    ahead = int((time.time() + 3600) * 1_000_000)
    broker.set(RECEIVED_KEY, ahead)
    for minute in range(10):
        first = submit(next(processes), OWNERS[1], minute, WRONG)
        assert first.entry_id.received_at > ahead
        submit(next(processes), OWNERS[0], minute, RIGHT)
    drain_all()
    assert energy(client) == 10 * RIGHT


def test_a_correction_counts_after_redis_lost_the_newest_received_time(client, processes, broker, drain_all):
    """And its clock was set back: the streams are ahead of it."""
    ahead_ms = int((time.time() + 3600) * 1000)
    for shard, sequence in ((0, 1_500), (1, 0)):  # ids as Redis assigns them
        broker.xadd(stream_key(shard), {"v1": encode_entry(Entry([], []))}, id=f"{ahead_ms}-{sequence}")
    for minute, owners in enumerate([(1, 0), (0, 1)] * 5):
        submit(next(processes), OWNERS[owners[0]], minute, WRONG)
        submit(next(processes), OWNERS[owners[1]], minute, RIGHT)
    drain_all()
    assert energy(client) == 10 * RIGHT


def test_a_correction_counts_after_redis_was_flushed_and_its_clock_set_back(client, processes, broker, drain_all):
    broker.set(RECEIVED_KEY, int((time.time() + 3600) * 1_000_000))
    submit(next(processes), OWNERS[0], 0, WRONG)
    drain_all()
    broker.flushall()
    submit(next(processes), OWNERS[0], 1, RIGHT)  # a bell: the drain finds the stream diverged
    drain_all()
    submit(next(processes), OWNERS[1], 0, RIGHT)
    drain_all()
    assert energy(client) == 2 * RIGHT


def test_a_correction_counts_after_a_dead_letter_was_replayed(client, database, runner, poison, drain_all):
    at = ago(minutes=5)
    client.post("/v1/telemetry", json=[meter("M1", at, voltage=999.5), meter("M2", at)])
    client.post("/v1/telemetry", json=meter("M1", at, kwhConsumedAc=RIGHT))
    drain_all()
    poison()
    assert runner.invoke(args=["dead-letters", "replay", "--all"]).exit_code == 0
    assert client.get("/v1/meters/M1").json["kwhConsumedAc"] == RIGHT
