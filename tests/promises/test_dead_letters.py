"""A reading that Postgres refuses becomes a dead letter with its reason, and stops nothing."""

import pytest
from psycopg import errors

from tests.factories import meter
from tests.promises.meters import post_meters, stored_meters
from workers.drain import drain_batch


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
    assert len(stored_meters(database)) == 999
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


def test_the_good_rows_of_a_mostly_bad_batch_are_stored(client, database, drain_all, poison):
    rows = [meter(f"M{number:05d}", voltage=poison if number % 5 < 3 else 230) for number in range(500)]
    client.post("/v1/telemetry", json=rows)
    drain_all()
    assert len(stored_meters(database)) == 200
    assert database.execute("select count(*) from dead_letters").fetchone()[0] == 300


def test_a_batch_that_is_nearly_all_bad_stops_the_shard(client, resources, database, drain_all, poison):
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
    assert len(stored_meters(database)) == 500


def test_a_row_without_a_partition_is_not_dead_lettered(client, resources, database):
    from models.storage.partitions import ensure_partitions

    post_meters(client, 1)
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
    names = post_meters(client, 2)
    drain_all()
    assert stored_meters(database) == names
    letters = database.execute("select kind, payload from dead_letters order by id").fetchall()
    assert letters[0] == ("entry", b"\xc1")
    assert b"from a newer version" in letters[1][1]
