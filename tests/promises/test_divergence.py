"""A stream that was flushed or restored is repaired: nothing is skipped, and nothing is stored twice."""

from models.readings import Entry, encode_entry, to_microseconds
from models.storage.positions import list_diverged_shards
from models.stream.entry_ids import EntryId
from tests.factories import ago, meter
from tests.promises.meters import post_meters, stored_meters


def test_entries_after_a_flushed_redis_are_not_skipped(client, resources, database, drain_all, broker):
    before = post_meters(client, 4)
    drain_all()
    broker.flushall()
    after = post_meters(client, 4, start=100)
    drain_all()
    assert stored_meters(database) == before + after
    assert database.execute("select count(*) from ingest_positions where diverged_at is not null").fetchone()[0] == 2


def test_a_deleted_stream_is_detected_without_and_with_new_entries(client, resources, database, drain_all, broker):
    before = post_meters(client, 4)
    drain_all()
    post_meters(client, 4, start=50)  # accepted, and lost with the streams
    broker.delete("telemetry:{0}", "telemetry:{1}")
    assert list_diverged_shards(database, resources.stream) == [0, 1]
    after = post_meters(client, 4, start=100)
    assert list_diverged_shards(database, resources.stream) == [0, 1]
    drain_all()
    assert list_diverged_shards(database, resources.stream) == []
    assert stored_meters(database) == before + after


def test_the_stored_id_of_an_earlier_release_is_used_until_the_first_trim(
    client, resources, database, drain_all, broker
):
    names = post_meters(client, 4)
    drain_all()
    for shard in (0, 1):
        broker.set(f"telemetry:{{{shard}}}:stored", str(resources.stream.stored_id(shard)))
        broker.xgroup_destroy(f"telemetry:{{{shard}}}", "stored")
    assert list_diverged_shards(database, resources.stream) == []
    names += post_meters(client, 4, start=50)
    drain_all()
    assert stored_meters(database) == names
    assert list_diverged_shards(database, resources.stream) == []
    assert not broker.keys("*:stored")


def test_entries_with_ids_before_the_position_are_not_skipped(client, resources, database, drain_all, broker):
    post_meters(client, 2)
    drain_all()
    receipts = [client.post("/v1/telemetry", json=meter(f"N{number}")).json["receipt"] for number in range(2)]
    drain_all()
    payload = old_entry()
    broker.flushall()
    for shard in (0, 1):
        broker.xadd(f"telemetry:{{{shard}}}", {"v1": payload}, id="5-1")  # far before the position
    drain_all()
    assert stored_meters(database)[-2:] == ["OLD", "OLD"]
    for shard in (0, 1):
        assert resources.stream.last_id(shard) >= max(
            EntryId(int(ms), int(sequence)) for s, ms, sequence in (r.split("-") for r in receipts) if int(s) == shard
        )
        assert client.get(f"/v1/telemetry/receipts/{shard}-5-1").json["state"] == "stored"
    counted = database.execute("select sum(readings) from ingest_batches").fetchone()[0]
    assert counted == len(stored_meters(database))
    more = post_meters(client, 2, start=200)
    drain_all()
    assert set(more) <= set(stored_meters(database))


def test_entries_of_a_restored_stream_that_are_stored_are_not_stored_again(
    client, resources, database, drain_all, broker
):
    names = post_meters(client, 6)
    saved = {shard: broker.dump(f"telemetry:{{{shard}}}") for shard in (0, 1)}
    drain_all()
    more = post_meters(client, 4, start=50)
    drain_all()
    broker.flushall()
    for shard, dump in saved.items():
        broker.restore(f"telemetry:{{{shard}}}", 0, dump)
    drain_all()
    assert stored_meters(database) == names + more
    last = post_meters(client, 2, start=90)
    drain_all()
    assert stored_meters(database) == names + more + last


def old_entry() -> bytes:
    return encode_entry(Entry([("OLD", to_microseconds(ago(minutes=3)), 1.0, 230.0)], []))
