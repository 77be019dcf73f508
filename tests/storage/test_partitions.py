"""Days of history: created ahead without blocking the drain, and dropped after the retention."""

from datetime import date, timedelta

import psycopg
import pytest

from models.storage.partitions import days_ahead, drop_expired, ensure_partitions, list_partitions

FIRST = date(2031, 5, 1)


@pytest.fixture
def far_away(resources, database):
    """Drops the days that a test created."""
    before = {partition.name for partition in list_partitions(database)}
    yield
    for partition in list_partitions(database):
        if partition.name not in before:
            database.execute(f"drop table {partition.name}")
    ensure_partitions(database, days_ahead=resources.settings.partition_days_ahead)


def test_a_migration_creates_a_week_ahead(database, resources):
    assert days_ahead(database) == resources.settings.partition_days_ahead == 7


def test_missing_days_are_created_once(database, far_away):
    today = max(partition.day for partition in list_partitions(database) if partition.day)
    created = ensure_partitions(database, days_ahead=2, today=today)
    assert created == [
        f"{kind}_readings_history_{today + timedelta(days=ahead):%Y%m%d}"
        for kind in ("meter", "vehicle")
        for ahead in (1, 2)
    ]
    assert ensure_partitions(database, days_ahead=2, today=today) == []


def test_a_new_day_has_the_covering_index_and_is_vacuumed_while_it_grows(database):
    options, indexes = database.execute(
        """select c.reloptions, (select count(*) from pg_index i where i.indrelid = c.oid)
           from pg_class c where c.relname = to_char(now(), '"meter_readings_history_"YYYYMMDD')"""
    ).fetchone()
    assert "autovacuum_vacuum_insert_scale_factor=0" in options
    assert indexes == 1


def test_creating_a_day_gives_up_on_a_lock_that_is_held(database, resources, far_away):
    last = max(partition.day for partition in list_partitions(database) if partition.day)
    with psycopg.connect(resources.settings.database_url) as reader:
        reader.execute("lock table meter_readings_history in access exclusive mode")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            ensure_partitions(database, days_ahead=1, today=last)


def test_creating_a_day_does_not_wait_for_a_running_drain(database, resources, far_away):
    last = max(partition.day for partition in list_partitions(database) if partition.day)
    with psycopg.connect(resources.settings.database_url) as drain:
        drain.execute("insert into meter_readings_history values (now(), now(), 1, 230, 'M1')")
        assert len(ensure_partitions(database, days_ahead=1, today=last)) == 2


def test_days_past_the_retention_are_dropped(database, resources):
    days = sorted(
        {
            partition.day
            for partition in list_partitions(database)
            if partition.day and partition.table == "meter_readings_history"
        }
    )
    today = days[0] + timedelta(days=3)
    dropped = drop_expired(database, keep_days=2, today=today)
    try:
        assert dropped == [f"{kind}_readings_history_{days[0]:%Y%m%d}" for kind in ("meter", "vehicle")]
        assert drop_expired(database, keep_days=2, today=today) == []
    finally:
        for kind in ("meter", "vehicle"):  # as it was
            name = f"{kind}_readings_history_{days[0]:%Y%m%d}"
            database.execute(f"create table {name} (like {kind}_readings_history including all)")
            database.execute(
                f"alter table {kind}_readings_history attach partition {name}"
                f" for values from ('{days[0]}T00:00:00Z') to ('{days[1]}T00:00:00Z')"
            )


def test_readings_before_the_first_day_have_a_partition(database):
    database.execute("insert into meter_readings_history values ('2001-01-01Z', now(), 1, 230, 'M1')")
    (name,) = database.execute("select tableoid::regclass::text from meter_readings_history").fetchone()
    assert name == "meter_readings_history_older"
