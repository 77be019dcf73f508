"""`energy dead-letters`: list, show and replay."""

import threading

import msgspec
import psycopg
import pytest

from models.readings import Entry, MeterReading, encode_entry, to_datetime, to_microseconds
from models.storage import replay as replays
from models.storage.dead_letters import DeadLetter, store_dead_letters
from models.storage.replay import replay_batch
from models.stream.entry_ids import EntryId
from models.stream.keys import FIELD
from tests.factories import ago, meter, vehicle


def store_meter_letters(connection, amount: int, voltage=230.0, readings=True) -> list[int]:
    """Dead letters of `amount` meters, as the batch writer stores them; or of unreadable entries. Returns their ids."""
    at = ago(minutes=1)
    letters = []
    for number in range(amount):
        entry = EntryId(to_microseconds(at) // 1000, number)
        values = {"reading": meter(f"M{number:04d}", at, voltage=voltage)} if readings else {"payload": b"\xc1"}
        kind = "meter" if readings else "entry"
        letters.append(DeadLetter(0, entry, kind, "a reason", at, entry_readings=1, row=0, **values))
    store_dead_letters(connection, letters)
    return [row[0] for row in connection.execute("select id from dead_letters order by id").fetchall()][-amount:]


def test_a_replayed_reading_is_in_history_and_live_with_its_received_time(
    runner, client, drain_all, database, poison, count
):
    at = ago(minutes=5)
    receipt = client.post("/v1/telemetry", json=[meter(voltage=999.5, at=at), vehicle(at=at)]).json["receipt"]
    drain_all()
    received = database.execute("select received_at from dead_letters").fetchone()[0]
    assert runner.invoke(args=["dead-letters", "replay", "--all"]).exit_code == 1, "still refused"
    assert count("meter_readings_history") == 0
    poison()
    done = runner.invoke(args=["dead-letters", "replay", "--all"])
    assert (done.exit_code, "Replayed 1, refused again 0." in done.output) == (0, True), done.output
    history = database.execute("select meter_id, recorded_at, received_at, voltage from meter_readings_history")
    assert history.fetchall() == [("M001", at, received, 999.5)]
    assert client.get("/v1/meters/M001").json["voltage"] == 999.5
    assert client.get(f"/v1/telemetry/receipts/{receipt}").json["state"] == "stored"
    again = runner.invoke(args=["dead-letters", "replay", "--all"])
    assert "Replayed 0" in again.output
    assert count("meter_readings_history") == 1


def test_a_replayed_older_reading_leaves_the_live_row(runner, client, drain_all, poison):
    client.post("/v1/telemetry", json=meter(voltage=999.5, at=ago(minutes=5)))
    client.post("/v1/telemetry", json=meter(voltage=231, at=ago(minutes=1)))
    drain_all()
    poison()
    assert runner.invoke(args=["dead-letters", "replay", "--all"]).exit_code == 0
    assert client.get("/v1/meters/M001").json["voltage"] == 231


def test_two_concurrent_replays_store_each_reading_once(database, resources, monkeypatch, count):
    store_meter_letters(database, 600)
    both_have_letters = threading.Barrier(2, timeout=5)
    store = replays._store_readings

    met = set()

    def store_together(*arguments):
        if threading.get_ident() not in met:
            met.add(threading.get_ident())
            both_have_letters.wait()
        return store(*arguments)

    monkeypatch.setattr(replays, "_store_readings", store_together)
    replayed = []

    def operate() -> None:
        with psycopg.connect(resources.settings.database_url, autocommit=True) as connection:
            after = 0
            while batch := replay_batch(connection, after=after, limit=50):
                replayed.append(batch.replayed)
                after = batch.last_id

    operators = [threading.Thread(target=operate) for _ in range(2)]
    for operator in operators:
        operator.start()
    for operator in operators:
        operator.join()
    assert sum(replayed) == 600
    assert count("meter_readings_history") == 600
    assert database.execute("select count(*) from dead_letters where replayed_at is null").fetchone()[0] == 0


def test_an_interrupted_replay_changes_nothing(database, resources, monkeypatch, count):
    store_meter_letters(database, 10)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(replays, "run_many", interrupt)
    with pytest.raises(KeyboardInterrupt):
        replay_batch(database)
    assert count("meter_readings_history") == 0
    assert database.execute("select count(*) from dead_letters where replayed_at is null").fetchone()[0] == 10


def test_good_letters_are_replayed_beside_hundreds_that_are_refused_again(runner, database, poison, count):
    bad = store_meter_letters(database, 300, voltage=999.5)
    store_meter_letters(database, 2)
    done = runner.invoke(args=["dead-letters", "replay", "--all"])
    assert done.exit_code == 1
    assert "Replayed 2, refused again 300." in done.output
    left = database.execute("select id, reason, sqlstate from dead_letters where replayed_at is null").fetchall()
    assert sorted(row[0] for row in left) == bad
    assert all("poison" in reason and state == "23514" for _, reason, state in left), "the reason of this time"
    assert count("meter_readings_live") == 2


def test_only_the_chosen_letters_are_replayed(runner, database):
    ids = store_meter_letters(database, 3)
    done = runner.invoke(args=["dead-letters", "replay", str(ids[1]), "99999999"])
    assert "Replayed 1, refused again 0." in done.output
    assert "1 of the ids" in done.output
    assert database.execute("select meter_id from meter_readings_history").fetchall() == [("M0001",)]
    assert runner.invoke(args=["dead-letters", "replay"]).exit_code == 2


def test_an_entry_is_replayed_once_it_can_be_read(runner, database, resources):
    store_meter_letters(database, 1, readings=False)
    entry_id, at = EntryId(to_microseconds(ago(minutes=3)) // 1000, 2), to_microseconds(ago(minutes=4))
    payload = encode_entry(Entry([MeterReading("M1", at, 1.0, 230.0), MeterReading("M2", at, 2.0, 230.0)], []))
    torn = payload.replace(b"M2", b"\xff\xfe")
    received = to_datetime(entry_id.received_at)
    for each in (payload, torn):
        store_dead_letters(
            database, [DeadLetter(1, entry_id, "entry", "can't be read", received, entry_readings=1, payload=each)]
        )
    done = runner.invoke(args=["dead-letters", "replay", "--all"])
    assert "Replayed 1, refused again 2." in done.output, done.output
    assert database.execute("select meter_id, received_at from meter_readings_history order by 1").fetchall() == [
        ("M1", received),
        ("M2", received),
    ]


def test_dead_letters_are_listed_and_shown(runner, database):
    assert "There are no dead letters." in runner.invoke(args=["dead-letters", "list"]).output
    first, second = store_meter_letters(database, 2)
    listed = runner.invoke(args=["dead-letters", "list", "--limit", "1"]).output
    assert "M0001" in listed
    assert "M0000" not in listed
    shown = msgspec.json.decode(runner.invoke(args=["dead-letters", "show", str(first)]).output)
    assert shown["reading"]["meterId"] == "M0000"
    assert shown["reason"] == "a reason"
    absent = runner.invoke(args=["dead-letters", "show", str(second + 1)])
    assert (absent.exit_code, "There is no dead letter" in absent.output) == (1, True)
    assert FIELD == b"v1", "the payload that `show` prints in base64 is that field of the entry"
