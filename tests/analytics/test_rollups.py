"""Roll-ups: when the watermark moves, which changes leave a stale mark, and races of drains and steps."""

import threading
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from models.analytics.rollups import pending_marks
from models.analytics.rollups.stale_hours import add_all_devices
from models.analytics.rollups.watermark import get_state, rebuild, roll_up_steps, watermark_target
from models.devices.settings import set_device
from models.locks import Lock, take_lock
from models.readings import METER, Entry, MeterReading, VehicleReading, encode_entry, to_microseconds
from models.storage import partitions, stale_marks
from models.storage.batch import Batch
from models.storage.stale_marks import mark_stale, require_marks_before
from models.storage.writer import store_batch
from models.stream.entry_ids import EntryId
from models.stream.telemetry import FIELD
from tests.factories import meter, vehicle
from tests.rollups import HEARTBEAT, hourly_rows, roll_up, start_watermark
from workers import rollups as tasks

HOUR = timedelta(hours=1)
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)


def list_marks(database) -> list[tuple]:
    return database.execute(
        "select kind, device_ids, nullif(from_hour, '-infinity'), to_hour from rollup_marks order by id"
    ).fetchall()


def store(connection, number: int, meters=(), vehicles=()) -> None:
    """Stores readings in the caller's transaction, as the drain does."""
    entry = Entry(
        [MeterReading(name, to_microseconds(at), kwh, 230.0) for name, at, kwh in meters],
        [VehicleReading(name, to_microseconds(at), kwh, 25.0, None) for name, at, kwh in vehicles],
    )
    store_batch(connection, Batch(0, [(EntryId(1_800_000_000_000 + number, 0), {FIELD: encode_entry(entry)})]))


# ── The watermark ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_watermark_is_a_whole_minute_behind_the_clock():
    assert watermark_target(NOON + timedelta(minutes=5, seconds=59)) == NOON + timedelta(minutes=4)


@pytest.mark.slow
def test_the_first_run_rolls_up_all_of_history(database, send):
    old = NOON - timedelta(days=300)
    send(meter(at=old, kwhConsumedAc=3), meter(at=NOON, kwhConsumedAc=2), vehicle(at=old + 5 * HOUR))
    assert get_state(database).watermark is None
    roll_up(database, NOON + timedelta(minutes=30))
    state = get_state(database)
    assert (state.watermark, state.stale_marks) == (NOON + timedelta(minutes=30), 0)
    assert hourly_rows(database, "meter") == {
        ("M001", old.replace(minute=0)): (3, 1, 0, 230),
        ("M001", NOON): (2, 1, 0, 230),
    }
    assert [hour for _, hour in hourly_rows(database, "vehicle")] == [old + 5 * HOUR]


def test_readings_after_the_watermark_are_rolled_up_when_it_passes_them(database, send):
    start_watermark(database, NOON)
    send(meter(at=NOON + timedelta(minutes=10), kwhConsumedAc=1), meter(at=NOON + timedelta(minutes=40)))
    assert list_marks(database) == []
    roll_up(database, NOON + timedelta(minutes=30))
    assert hourly_rows(database, "meter") == {("M001", NOON): (1, 1, 0, 230)}
    roll_up(database, NOON + HOUR)
    assert hourly_rows(database, "meter") == {("M001", NOON): (2.5, 2, 0, 460)}


def test_one_process_at_a_time_does_a_step(database, resources):
    start_watermark(database, NOON)
    with resources.database.connection() as other, other.transaction():
        take_lock(other, Lock.ROLLUP_STEP)
        roll_up(database, NOON + HOUR)
        assert get_state(database).watermark == NOON
    roll_up(database, NOON + HOUR)
    assert get_state(database).watermark == NOON + HOUR


def test_the_task_moves_the_watermark_close_to_the_clock(database, broker):
    start_watermark(database, datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - 3 * HOUR)
    tasks.roll_up()
    assert get_state(database).watermark >= watermark_target(datetime.now(UTC)) - timedelta(minutes=1)
    assert broker.llen("maintenance") == 0


def test_a_task_that_is_behind_rings_for_itself(database, broker, monkeypatch):
    monkeypatch.setattr(tasks, "RUN_SECONDS", 0)
    start_watermark(database, NOON)
    tasks.roll_up()
    assert get_state(database).watermark == NOON + HOUR
    assert broker.llen("maintenance") == 1


def test_a_step_that_crashes_is_repeated(database, send, monkeypatch):
    start_watermark(database, NOON)
    send(meter(at=NOON))
    database.execute("alter table vehicle_hourly rename to gone")
    try:
        with pytest.raises(psycopg.errors.UndefinedTable):
            roll_up(database, NOON + HOUR)
    finally:
        database.execute("alter table gone rename to vehicle_hourly")
    assert (get_state(database).watermark, hourly_rows(database, "meter")) == (NOON, {})
    roll_up(database, NOON + HOUR)
    assert len(hourly_rows(database, "meter")) == 1


# ── Stale marks ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_late_reading_leaves_a_stale_mark_and_then_counts(database, send):
    start_watermark(database, NOON)
    late = NOON - timedelta(minutes=10)
    send(meter(at=late, kwhConsumedAc=4), meter("M002", at=late), meter(at=NOON), vehicle(at=late - HOUR))
    assert [(kind, set(devices), *hours) for kind, devices, *hours in list_marks(database)] == [
        ("meter", {"M001", "M002"}, NOON - HOUR, NOON),
        ("vehicle", {"V001"}, NOON - 2 * HOUR, NOON - HOUR),
    ]
    roll_up(database, NOON)
    assert hourly_rows(database, "meter")["M001", NOON - HOUR][:2] == (4, 1)
    send(meter(at=late, kwhConsumedAc=5))  # a correction
    roll_up(database, NOON)
    assert hourly_rows(database, "meter")["M001", NOON - HOUR][:2] == (5, 1)
    assert list_marks(database) == []


def test_many_late_devices_of_an_hour_are_one_mark_that_waits_until_the_hour_is_loaded(database, send, monkeypatch):
    monkeypatch.setattr(stale_marks, "MAX_DEVICES", 2)
    start_watermark(database, NOON)
    send(*(meter(f"M{n}", at=NOON - HOUR) for n in range(3)))
    assert list_marks(database) == [("meter", None, NOON - HOUR, NOON)]
    list(roll_up_steps(database, now=NOON + timedelta(seconds=60), heartbeat_seconds=HEARTBEAT))
    assert hourly_rows(database, "meter") == {}
    database.execute("update rollup_marks set marked_at = now() - interval '6 s'")
    list(roll_up_steps(database, now=NOON + timedelta(seconds=60), heartbeat_seconds=HEARTBEAT))
    assert len(hourly_rows(database, "meter")) == 3


def test_a_mark_too_large_for_a_step_is_worked_off_in_several(database, send, monkeypatch):
    names = [f"V{n}" for n in range(50)]
    start_watermark(database, NOON - 2 * HOUR)
    send(*(vehicle(name, at=NOON - HOUR) for name in names))
    roll_up(database, NOON)
    database.execute("update vehicle_hourly set kwh = -1")
    monkeypatch.setattr(pending_marks, "DEVICE_HOURS_PER_STEP", 10)
    mark_stale(database, "vehicle", names, None, None)
    work = roll_up_steps(database, now=NOON + timedelta(seconds=60), heartbeat_seconds=HEARTBEAT)
    next(work), next(work)
    assert 0 < len(list_marks(database)[0][1]) < 50
    list(work)
    assert {row[0] for row in hourly_rows(database, "vehicle").values()} == {1.2}


def test_replayed_dead_letters_leave_stale_marks(database, resources):
    from models.storage.dead_letters import DeadLetter, store_dead_letters
    from models.storage.replay import replay_batch

    start_watermark(database, NOON)
    reading = {"meterId": "M001", "timestamp": (NOON - HOUR).isoformat(), "kwhConsumedAc": 2.0, "voltage": 230.0}
    store_dead_letters(
        database, [DeadLetter(0, EntryId(1, 0), "meter", "test", NOON, entry_readings=1, row=0, reading=reading)]
    )
    assert replay_batch(database).replayed == 1
    assert list_marks(database) == [("meter", ["M001"], NOON - HOUR, NOON)]


@pytest.mark.slow
def test_roll_ups_of_history_that_was_dropped_stay(database, send):
    send(meter(at=NOON - timedelta(days=400)), vehicle(at=NOON - timedelta(days=400)), vehicle(at=NOON))
    roll_up(database, NOON + HOUR)
    before = hourly_rows(database, "vehicle")
    assert len(before) == 2
    database.execute("truncate meter_readings_history_older, vehicle_readings_history_older")
    mark_stale(database, "vehicle", ["V001"], None, None)
    roll_up(database, NOON + HOUR)
    list(rebuild(database, None, None, heartbeat_seconds=HEARTBEAT))
    assert hourly_rows(database, "vehicle") == before


# ── Races ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_drain_that_commits_while_the_watermark_moves_is_not_missed(database, resources):
    """It read `marked_until` before that was raised, so the watermark waits for its commit."""
    start_watermark(database, NOON)
    is_stored, may_commit = threading.Event(), threading.Event()

    def drain():
        with resources.database.connection() as connection, connection.transaction():
            store(connection, 1, meters=[("M001", NOON + timedelta(minutes=10), 7.0)])  # not late, so no stale mark
            is_stored.set()
            may_commit.wait(20)

    draining = threading.Thread(target=drain)
    draining.start()
    assert is_stored.wait(20)
    assert not require_marks_before(database, NOON + HOUR, patience_seconds=0.1), "the watermark must wait"
    assert_watermark_waits(database)
    # A drain that starts now reads the new value, and does not wait.
    with resources.database.connection() as other, other.transaction():
        store(other, 2, meters=[("M002", NOON + timedelta(minutes=20), 1.0)])
    assert list_marks(database) == [("meter", ["M002"], NOON, NOON + HOUR)]
    may_commit.set()
    draining.join()
    roll_up(database, NOON + HOUR)
    assert {name: row[0] for (name, _), row in hourly_rows(database, "meter").items()} == {"M001": 7, "M002": 1}


def assert_watermark_waits(database) -> None:
    """The watermark does not move while a transaction is open that may have read the old `marked_until`."""
    list(roll_up_steps(database, now=NOON + HOUR + timedelta(seconds=60), heartbeat_seconds=HEARTBEAT))
    assert get_state(database).watermark == NOON


@pytest.mark.slow
def test_drains_and_roll_ups_at_once_miss_nothing(database, resources):
    """Two threads store readings close to the watermark, while a third moves it as fast as it can."""
    start_watermark(database, NOON)
    stop = threading.Event()

    def drain(shard: int):
        for number in range(120):
            at = NOON + timedelta(minutes=number // 2)
            with resources.database.connection(timeout=20) as connection, connection.transaction():
                store(connection, shard * 1_000 + number, meters=[(f"M{shard}", at, 1.0)], vehicles=[("V", at, 1.0)])

    def advance():
        with psycopg.connect(resources.settings.database_url, autocommit=True, options="-c timezone=UTC") as connection:
            minute = 0
            while not stop.is_set():
                minute = min(minute + 1, 60)
                now = NOON + timedelta(minutes=minute, seconds=60)
                list(roll_up_steps(connection, now=now, heartbeat_seconds=HEARTBEAT))

    threads = [threading.Thread(target=drain, args=[shard]) for shard in (1, 2)]
    rolling = threading.Thread(target=advance)
    for thread in (*threads, rolling):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    rolling.join()
    roll_up(database, NOON + HOUR)
    # Each minute counts once, although both threads stored vehicle readings of it.
    assert {name: row[:2] for (name, _), row in hourly_rows(database, "meter").items()} == {
        "M1": (60, 60),
        "M2": (60, 60),
    }
    assert [row[:2] for row in hourly_rows(database, "vehicle").values()] == [(60, 60)]


def test_the_first_day_is_that_of_either_kind(database):
    assert partitions.first_day(database) <= datetime.now(UTC).date() - timedelta(days=7)


def test_a_late_reading_of_a_register_changes_the_hour_of_the_next_one(database, send):
    set_device(database, METER, "M001", {"register": "cumulative"})
    start_watermark(database, NOON - 4 * HOUR)
    send(*(meter(at=NOON + n * HOUR, kwhConsumedAc=kwh) for n, kwh in ((-3, 100), (0, 110))))
    roll_up(database, NOON + HOUR)
    assert {hour: row[0] for (_, hour), row in hourly_rows(database, "meter").items()} == {NOON - 3 * HOUR: 0, NOON: 10}
    send(meter(at=NOON - 2 * HOUR, kwhConsumedAc=104))
    roll_up(database, NOON + HOUR)
    found = {hour: row[0] for (_, hour), row in hourly_rows(database, "meter").items()}
    assert found == {NOON - 3 * HOUR: 0, NOON - 2 * HOUR: 4, NOON: 6}


def test_a_changed_register_has_rolled_up_hours_recomputed(database, send):
    start_watermark(database, NOON - 4 * HOUR)
    send(*(meter(at=NOON + n * HOUR, kwhConsumedAc=kwh) for n, kwh in ((-3, 100), (0, 110))))
    roll_up(database, NOON + HOUR)
    set_device(database, METER, "M001", {"register": "cumulative"})
    assert get_state(database).stale_marks == 1
    roll_up(database, NOON + HOUR)
    assert {hour: row[0] for (_, hour), row in hourly_rows(database, "meter").items()} == {NOON - 3 * HOUR: 0, NOON: 10}


def test_a_tick_recomputes_the_devices_of_its_hour_and_not_those_last_seen_before(database, monkeypatch):
    meters = [(f"OLD-{number}", NOON - timedelta(minutes=30), 1.0) for number in range(50)]
    vehicles = [(f"OLD-{number}", NOON - timedelta(minutes=30), 1.0) for number in range(50)]
    store(database, 1, meters, vehicles)
    now = NOON + timedelta(minutes=5)
    store(database, 2, [("M1", now, 2.0), ("M2", NOON, 2.0)], [("V1", now, 1.0)])
    start_watermark(database, NOON)
    added = []
    monkeypatch.setattr(
        "models.analytics.rollups.watermark.add_all_devices",
        lambda connection, kind, hour: added.append(add_all_devices(connection, kind, hour)),
    )
    roll_up(database, NOON + timedelta(minutes=10))
    assert added == [2, 1]
    assert {key[0] for key in hourly_rows(database, "meter")} == {"M1", "M2"}
    assert {key[0] for key in hourly_rows(database, "vehicle")} == {"V1"}
