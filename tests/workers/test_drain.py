"""The drain task and its batches, on a real stream and a real database. Its promises are in tests/promises."""

import pytest
from psycopg import errors

from models.readings import Entry, encode_entry, to_microseconds
from models.stream.entry_ids import NO_ENTRY
from tests.factories import ago, meter
from workers import drain as drain_module
from workers.drain import drain_batch, read_batch

SHARD = 0


@pytest.fixture
def fill(broker):
    """Appends entries with these numbers of readings to the shard: `fill([10, 10, 1])`."""

    def fill(sizes: list[int]) -> None:
        at = to_microseconds(ago(minutes=1))
        for size in sizes:
            meters = [(f"M{number:05d}", at, 1.0, 230.0) for number in range(size)]
            broker.xadd(f"telemetry:{{{SHARD}}}", {"v1": encode_entry(Entry(meters, []))})

    return fill


@pytest.fixture
def pages(resources, monkeypatch):
    """The page sizes that are requested from the stream."""
    requested = []
    read_after = resources.stream.read_after

    def note(shard, after, count):
        requested.append(count)
        return read_after(shard, after, count)

    monkeypatch.setattr(resources.stream, "read_after", note)
    return requested


@pytest.mark.parametrize("sizes", [[600] * 12, [1] * 100 + [600] * 12, [600, 1] * 20])
def test_a_batch_holds_no_more_than_its_bound_and_one_entry(resources, database, fill, sizes):
    bound, largest = 1000, max(sizes)
    fill(sizes)
    after, batches = NO_ENTRY, []
    while (batch := read_batch(resources.stream, SHARD, after, bound)).entries:
        after = batch.entries[-1]
        batches.append(batch.readings)
    assert sum(batches) == sum(sizes)
    assert all(bound <= readings < bound + largest for readings in batches[:-1]), batches
    while resources.stream.backlog(SHARD):
        drain_batch(resources, SHARD)
    assert database.execute("select count(*) from meter_readings_history").fetchone()[0] == sum(sizes)


def test_small_entries_are_read_in_few_pages(resources, fill, pages, drain_all):
    fill([1] * 3000)
    assert read_batch(resources.stream, SHARD, NO_ENTRY, 10_000).readings == 3000
    assert len(pages) == 4
    drain_all()


def test_a_transient_failure_ends_the_task_and_rings_no_bell(client, monkeypatch, drain_all):
    for _ in range(2):
        client.post("/v1/telemetry", json=meter())
    rung = []
    monkeypatch.setattr(drain_module, "ring", rung.append)
    with monkeypatch.context() as patch:
        patch.setattr(drain_module, "store_batch", lambda *_: (_ for _ in ()).throw(errors.DeadlockDetected()))
        drain_module.drain(SHARD)
    assert rung == []
    drain_all()


def test_a_drain_whose_time_is_over_rings_again(client, monkeypatch, drain_all):
    for _ in range(2):
        client.post("/v1/telemetry", json=meter())
    rung = []
    monkeypatch.setattr(drain_module, "ring", rung.append)
    monkeypatch.setattr(drain_module.time, "monotonic", iter(range(0, 1000, 11)).__next__)
    drain_module.drain(SHARD)
    assert rung == [SHARD]
    monkeypatch.undo()
    drain_all()


def test_a_drain_task_empties_its_shard(client, resources, database):
    for number in range(20):
        client.post("/v1/telemetry", json=meter(f"M{number}"))
    for shard in range(resources.stream.shards):
        drain_module.drain(shard)
    assert database.execute("select count(*) from meter_readings_history").fetchone()[0] == 20
