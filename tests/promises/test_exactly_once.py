"""An accepted reading is stored exactly once, whatever ends or fails in between."""

import threading

import pytest
from psycopg import errors

from models.storage.positions import create_position, lock_position
from models.stream import telemetry as stream_module
from tests.promises.meters import post_meters, stored_meters
from workers import drain as drain_module
from workers.drain import drain_batch


class Killed(BaseException):
    """Ends the drain as the end of its process would: nothing catches it."""


def kill(*_args, **_kwargs):
    raise Killed


def test_worker_killed_before_commit_leaves_nothing_and_loses_nothing(
    client, resources, database, drain_all, monkeypatch
):
    names = post_meters(client, 6)
    with monkeypatch.context() as patch:
        patch.setattr(drain_module, "move_position", kill)
        with pytest.raises(Killed):
            drain_batch(resources, 0)
    assert stored_meters(database) == []
    drain_all()
    assert stored_meters(database) == names


def test_worker_killed_after_commit_does_not_duplicate_history(client, resources, database, drain_all, monkeypatch):
    names = post_meters(client, 6)
    with monkeypatch.context() as patch:
        patch.setattr(stream_module.TelemetryStream, "trim", kill)
        for shard in range(resources.stream.shards):
            with pytest.raises(Killed):
                drain_batch(resources, shard)
    assert stored_meters(database) == names
    assert sum(resources.stream.backlog(shard) for shard in range(resources.stream.shards)) == 6
    more = post_meters(client, 4, start=100)
    drain_all()
    assert stored_meters(database) == names + more
    assert resources.stream.backlog(0) == 0


def test_a_drain_overtaken_between_commit_and_trim_causes_no_divergence(client, resources, database, monkeypatch):
    """Its trim comes after another drain has stored and trimmed more."""
    late_trims = []
    trim = resources.stream.trim
    with monkeypatch.context() as patch:
        patch.setattr(
            stream_module.TelemetryStream, "trim", lambda _self, *args, **named: late_trims.append((args, named))
        )
        post_meters(client, 2)
        drain_batch(resources, 0)
        drain_batch(resources, 1)
    names = post_meters(client, 8, start=10)
    drain_module.drain(0)
    drain_module.drain(1)
    for args, named in late_trims:
        trim(*args, **named)
    post_meters(client, 2, start=50)
    drain_module.drain(0)
    drain_module.drain(1)
    assert database.execute("select count(*) from ingest_positions where diverged_at is not null").fetchone()[0] == 0
    assert set(names) <= set(stored_meters(database))


def test_two_drains_of_one_shard_do_not_both_write(client, resources, database, drain_all):
    names = post_meters(client, 200)
    start = threading.Barrier(8)

    def work(shard):
        start.wait()
        while resources.stream.backlog(shard):
            drain_batch(resources, shard)

    threads = [threading.Thread(target=work, args=(number % resources.stream.shards,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    drain_all()
    assert stored_meters(database) == names


def test_a_drain_skips_a_shard_that_another_one_has_locked(client, resources, database, drain_all):
    post_meters(client, 2)
    create_position(database, 0)
    with database.transaction():
        assert lock_position(database, 0) is not None
        assert drain_batch(resources, 0) is None
    drain_all()


def test_a_failing_database_costs_time_and_no_data(client, resources, database, drain_all):
    names = post_meters(client, 4)
    database.execute("alter table meter_readings_history rename to hidden")
    try:
        for shard in range(resources.stream.shards):
            with pytest.raises(errors.UndefinedTable):
                drain_batch(resources, shard)
    finally:
        database.execute("alter table hidden rename to meter_readings_history")
    assert database.execute("select failure from ingest_positions").fetchone()[0].startswith("UndefinedTable")
    assert drain_batch(resources, 0) is None  # it rests
    database.execute("update ingest_positions set failed_at = now() - interval '1 minute'")
    drain_all()
    assert stored_meters(database) == names
    assert database.execute("select count(*) from ingest_positions where failure is not null").fetchone()[0] == 0


def test_shards_that_are_no_longer_configured_are_still_drained(client, with_settings, resources, database, drain_all):
    with_settings(stream_shards=5)
    names = post_meters(client, 10)
    assert resources.stream.known_shards() == [0, 1, 2, 3, 4]
    drain_all()
    assert stored_meters(database) == names
