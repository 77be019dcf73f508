"""`energy partitions`."""

import time
from datetime import UTC, datetime


def test_missing_partitions_are_created_and_all_are_listed_with_sizes(runner, database):
    tomorrow = f"meter_readings_history_{datetime.fromtimestamp(time.time() + 86_400, UTC):%Y%m%d}"
    database.execute(f"drop table {tomorrow}")
    created = runner.invoke(args=["partitions", "ensure"])
    assert created.exit_code == 0, created.output
    assert f"created {tomorrow}" in created.output
    assert "1 partitions created" in created.output
    listed = runner.invoke(args=["partitions", "list"])
    assert listed.exit_code == 0
    assert "size, MiB" in listed.output
    assert f"{datetime.now(UTC):%Y-%m-%d}" in listed.output
    assert "0 partitions created" in runner.invoke(args=["partitions", "ensure"]).output


def test_rows_that_were_never_counted_are_a_dash(runner, database):
    name = database.execute(
        """select relname from pg_class
           where relkind = 'r' and reltuples = -1 and relname like 'meter_readings_history_2%' limit 1"""
    ).fetchone()[0]
    day = f"{name[-8:-4]}-{name[-4:-2]}-{name[-2:]}"
    lines = runner.invoke(args=["partitions", "list"]).output.splitlines()
    (line,) = (line for line in lines if "meter_readings_history" in line and day in line)
    assert line.split()[2] == "–"
