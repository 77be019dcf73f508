"""accepted = stored + dead-lettered, each exactly once: the drain's promises, each under its name."""

import threading

import pytest
from psycopg import errors

from models.storage.positions import create_position, lock_position
from models.stream import telemetry as stream_module
from models.stream.entry_ids import EntryId
from tests.factories import ago, meter, vehicle
from workers import drain as drain_module
from workers.drain import drain_batch


def post(client, count: int, start: int = 0) -> list[str]:
    """So many single readings, each of a meter of its own; returns the meters' ids."""
    names = [f"M{number:05d}" for number in range(start, start + count)]
    for name in names:
        assert client.post("/v1/telemetry", json=meter(name)).status_code == 202
    return names


def stored(database) -> list[str]:
    return [name for (name,) in database.execute("select meter_id from meter_readings_history order by 1").fetchall()]


class Killed(BaseException):
    """Stands for the process's death: nothing catches it."""


def die(*_args, **_kwargs):
    raise Killed


def test_worker_killed_before_commit_leaves_nothing_and_loses_nothing(
    client, resources, database, drain_all, monkeypatch
):
    names = post(client, 6)
    with monkeypatch.context() as patch:
        patch.setattr(drain_module, "move_position", die)
        with pytest.raises(Killed):
            drain_batch(resources, 0)
    assert stored(database) == []
    drain_all()
    assert stored(database) == names


def test_worker_killed_after_commit_does_not_duplicate_history(client, resources, database, drain_all, monkeypatch):
    names = post(client, 6)
    with monkeypatch.context() as patch:
        patch.setattr(stream_module.TelemetryStream, "trim", die)
        for shard in range(resources.stream.shards):
            with pytest.raises(Killed):
                drain_batch(resources, shard)
    assert stored(database) == names
    assert sum(resources.stream.backlog(shard) for shard in range(resources.stream.shards)) == 6
    more = post(client, 4, start=100)
    drain_all()
    assert stored(database) == names + more
    assert resources.stream.backlog(0) == 0


def test_a_drain_overtaken_between_commit_and_trim_does_not_put_the_mark_back(client, resources, database, monkeypatch):
    """Its trim comes when another drain has stored and trimmed more: that is no divergence."""
    with_lag = []
    trim = resources.stream.trim
    with monkeypatch.context() as patch:
        patch.setattr(
            stream_module.TelemetryStream, "trim", lambda _self, *args, **named: with_lag.append((args, named))
        )
        post(client, 2)
        drain_batch(resources, 0)
        drain_batch(resources, 1)
    names = post(client, 8, start=10)
    drain_module.drain(0)
    drain_module.drain(1)
    for args, named in with_lag:
        trim(*args, **named)
    post(client, 2, start=50)
    drain_module.drain(0)
    drain_module.drain(1)
    assert database.execute("select count(*) from ingest_positions where diverged_at is not null").fetchone()[0] == 0
    assert set(names) <= set(stored(database))


def test_two_drains_of_one_shard_do_not_both_write(client, resources, database, drain_all):
    names = post(client, 200)
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
    assert stored(database) == names


def test_a_drain_leaves_a_shard_that_another_one_has(client, resources, database, drain_all):
    post(client, 2)
    create_position(database, 0)
    with database.transaction():
        assert lock_position(database, 0) is not None
        assert drain_batch(resources, 0) is None
    drain_all()


def test_a_failing_database_costs_time_and_no_data(client, resources, database, drain_all):
    names = post(client, 4)
    database.execute("alter table meter_readings_history rename to away")
    try:
        for shard in range(resources.stream.shards):
            with pytest.raises(errors.UndefinedTable):
                drain_batch(resources, shard)
    finally:
        database.execute("alter table away rename to meter_readings_history")
    assert database.execute("select failure from ingest_positions").fetchone()[0].startswith("UndefinedTable")
    assert drain_batch(resources, 0) is None  # it rests, so that a broken database is not hammered
    database.execute("update ingest_positions set failed_at = now() - interval '1 minute'")
    drain_all()
    assert stored(database) == names
    assert database.execute("select count(*) from ingest_positions where failure is not null").fetchone()[0] == 0


def test_shards_that_are_no_longer_configured_are_still_drained(client, with_settings, resources, database, drain_all):
    with_settings(stream_shards=5)
    names = post(client, 10)
    assert resources.stream.known_shards() == [0, 1, 2, 3, 4]
    drain_all()
    assert stored(database) == names


# ── Dead letters ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def poison(database):
    """Postgres refuses readings of more than 999 V."""
    database.execute("alter table meter_readings_history add constraint poison check (voltage <> 999.5)")
    yield 999.5
    database.execute("alter table meter_readings_history drop constraint if exists poison")


def test_one_bad_row_stops_nothing(client, database, drain_all, poison):
    rows = [meter(f"M{number:05d}") for number in range(1000)]
    rows[345]["voltage"] = poison
    receipt = client.post("/v1/telemetry", json=rows, headers={"X-Request-ID": "from-depot-7"}).json["receipt"]
    drain_all()
    assert len(stored(database)) == 999
    letter = database.execute(
        'select kind, "row", reading, reason, sqlstate, request_id, entry_id from dead_letters'
    ).fetchall()
    assert len(letter) == 1
    kind, row, reading, reason, sqlstate, request_id, entry_id = letter[0]
    assert (kind, row, sqlstate, request_id) == ("meter", 345, "23514", "from-depot-7")
    assert (reading["meterId"], reading["voltage"]) == ("M00345", poison)
    assert "poison" in reason
    assert receipt.endswith(entry_id)
    state = client.get(f"/v1/telemetry/receipts/{receipt}").json
    assert (state["state"], state["deadLetters"]) == ("partly-dead-lettered", 1)


def test_an_entry_that_is_refused_whole_is_dead_lettered(client, database, drain_all, poison):
    receipt = client.post("/v1/telemetry", json=[meter(voltage=poison)]).json["receipt"]
    drain_all()
    assert client.get(f"/v1/telemetry/receipts/{receipt}").json == {
        "receipt": receipt,
        "state": "dead-lettered",
        "deadLetters": 1,
    }
    assert client.get("/v1/meters/M001").status_code == 404


def test_a_batch_of_which_most_is_bad_is_taken_apart(client, database, drain_all, poison):
    rows = [meter(f"M{number:05d}", voltage=poison if number % 5 < 3 else 230) for number in range(500)]
    client.post("/v1/telemetry", json=rows)
    drain_all()
    assert len(stored(database)) == 200
    assert database.execute("select count(*) from dead_letters").fetchone()[0] == 300


def test_a_batch_of_which_nearly_all_is_bad_stops_the_shard_and_says_so(client, resources, database, drain_all, poison):
    from models.storage.history import MostlyRefused

    client.post("/v1/telemetry", json=[meter(f"M{number:05d}", voltage=poison) for number in range(500)])
    shard = next(shard for shard in (0, 1) if resources.stream.backlog(shard))
    with pytest.raises(MostlyRefused):
        drain_batch(resources, shard)
    assert database.execute("select count(*) from dead_letters").fetchone()[0] == 0
    assert "MostlyRefused" in database.execute("select failure from ingest_positions").fetchone()[0]
    database.execute("alter table meter_readings_history drop constraint poison")
    database.execute("update ingest_positions set failed_at = null")
    drain_all()
    assert len(stored(database)) == 500


def test_a_row_without_a_partition_is_not_the_rows_fault(client, resources, database):
    from models.storage.partitions import ensure_partitions

    post(client, 1)
    shard = next(shard for shard in (0, 1) if resources.stream.backlog(shard))
    (name,) = database.execute(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid"
        " where i.inhparent = 'meter_readings_history'::regclass"
        " and c.relname = to_char(now(), '\"meter_readings_history_\"YYYYMMDD')"
    ).fetchone()
    database.execute(f"drop table {name}")
    try:
        with pytest.raises(errors.CheckViolation):
            drain_batch(resources, shard)
    finally:
        ensure_partitions(database, days_ahead=7)
    assert database.execute("select count(*) from dead_letters").fetchone()[0] == 0
    database.execute("update ingest_positions set failed_at = null")
    assert drain_batch(resources, shard).readings == 1


def test_an_unreadable_entry_is_dead_lettered_and_stops_nothing(client, resources, database, drain_all, broker):
    broker.xadd("telemetry:{0}", {"v1": b"\xc1"})
    broker.xadd("telemetry:{0}", {"v9": b"from a newer version"})
    broker.xadd("telemetry:{0}", {"v1": b"\x93\x90\x90\xa1\xff"})  # a text that is not UTF-8
    names = post(client, 2)
    drain_all()
    assert stored(database) == names
    letters = database.execute("select kind, payload from dead_letters order by id").fetchall()
    assert letters[0] == ("entry", b"\xc1")
    assert b"from a newer version" in letters[1][1]


# ── A stream that diverged from its stored position ──────────────────────────────────────────────────────────


def test_entries_after_a_flushed_redis_are_not_skipped(client, resources, database, drain_all, broker):
    before = post(client, 4)
    drain_all()
    broker.flushall()
    after = post(client, 4, start=100)
    drain_all()
    assert stored(database) == before + after
    assert database.execute("select count(*) from ingest_positions where diverged_at is not null").fetchone()[0] == 2


def test_entries_of_a_redis_whose_clock_went_back_are_not_skipped(client, resources, database, drain_all, broker):
    post(client, 2)
    drain_all()
    receipts = [client.post("/v1/telemetry", json=meter(f"N{number}")).json["receipt"] for number in range(2)]
    drain_all()
    payload = stream_module_entry()
    broker.flushall()
    for shard in (0, 1):
        broker.xadd(f"telemetry:{{{shard}}}", {"v1": payload}, id="5-1")  # far before the position
    drain_all()
    assert stored(database)[-2:] == ["OLD", "OLD"]
    for shard in (0, 1):
        assert resources.stream.last_id(shard) >= max(
            EntryId(int(ms), int(sequence)) for s, ms, sequence in (r.split("-") for r in receipts) if int(s) == shard
        )
        assert client.get(f"/v1/telemetry/receipts/{shard}-5-1").json["state"] == "stored"
    counted = database.execute("select sum(readings) from ingest_batches").fetchone()[0]
    assert counted == len(stored(database))
    more = post(client, 2, start=200)
    drain_all()
    assert set(more) <= set(stored(database))


def test_entries_of_a_restored_stream_that_are_stored_are_not_stored_again(
    client, resources, database, drain_all, broker
):
    names = post(client, 6)
    saved = {shard: broker.dump(f"telemetry:{{{shard}}}") for shard in (0, 1)}
    drain_all()
    more = post(client, 4, start=50)
    drain_all()
    broker.flushall()
    for shard, dump in saved.items():
        broker.restore(f"telemetry:{{{shard}}}", 0, dump)
    drain_all()
    assert stored(database) == names + more
    last = post(client, 2, start=90)
    drain_all()
    assert stored(database) == names + more + last


def stream_module_entry() -> bytes:
    from models.readings import Entry, encode_entry, to_microseconds

    return encode_entry(Entry([("OLD", to_microseconds(ago(minutes=3)), 1.0, 230.0)], []))


# ── Live: newest wins, in whatever order readings come ───────────────────────────────────────────────────────


def test_an_older_reading_after_a_newer_one_leaves_live_alone(client, drain_all):
    client.post("/v1/telemetry", json=meter(at=ago(minutes=1), voltage=231))
    drain_all()
    client.post("/v1/telemetry", json=meter(at=ago(minutes=9), voltage=239))
    drain_all()
    assert client.get("/v1/meters/M001").json["voltage"] == 231


def test_the_newest_first_inside_one_batch_leaves_live_with_the_newest(client, drain_all):
    at = [ago(minutes=minutes) for minutes in (1, 2, 3)]
    client.post("/v1/telemetry", json=[meter(at=at[0], voltage=231), meter(at=at[1]), meter(at=at[2])])
    drain_all()
    assert client.get("/v1/meters/M001").json["voltage"] == 231


def test_of_two_submissions_for_one_instant_the_last_one_wins_everywhere(client, database, drain_all):
    at = ago(minutes=1)
    client.post("/v1/analytics/vehicle-mapping", json={"vehicleId": "V001", "meterId": "M001"})
    client.post("/v1/telemetry", json=[vehicle(at=at), meter(at=at, kwhConsumedAc=5), meter(at=at, kwhConsumedAc=2)])
    drain_all()
    assert client.get("/v1/meters/M001").json["kwhConsumedAc"] == 2
    assert client.get("/v1/analytics/performance/V001").json["totalAcConsumption"] == 2
    client.post("/v1/telemetry", json=meter(at=at, kwhConsumedAc=3))
    drain_all()
    assert client.get("/v1/meters/M001").json["kwhConsumedAc"] == 3
    assert client.get("/v1/analytics/performance/V001").json["totalAcConsumption"] == 3
    assert database.execute("select count(*) from meter_readings_history").fetchone()[0] == 3


def test_a_missing_state_of_charge_keeps_the_newest_known_one(client, drain_all):
    def soc():
        drain_all()
        return client.get("/v1/vehicles/V001").json["soc"]

    client.post("/v1/telemetry", json=vehicle(at=ago(minutes=9), soc=40))
    assert soc() == 40
    client.post("/v1/telemetry", json=vehicle(at=ago(minutes=3), soc=None))
    assert soc() == 40
    client.post("/v1/telemetry", json=vehicle(at=ago(minutes=5), soc=45))  # late, but newer than what is known
    assert soc() == 45
    client.post("/v1/telemetry", json=vehicle(at=ago(minutes=7), soc=43))  # late, and older
    assert soc() == 45
    client.post("/v1/telemetry", json=[vehicle(at=ago(minutes=1), soc=None), vehicle(at=ago(minutes=2), soc=50)])
    assert soc() == 50
