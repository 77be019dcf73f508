"""Rows that Postgres refuses cost time of their own, and the others hardly any."""

import time
from collections.abc import Iterator

import psutil
import pytest

from models.readings import Entry, MeterReading, encode_entry
from workers.drain import drain_batch

pytestmark = pytest.mark.slow

READINGS = 100_000
OWNER = "one shard"
READINGS_AN_ENTRY = 500
GOOD_IN_A_POISON = 10_000
POISON = 999.5  # V
LEAST_DRAINS, MOST_DRAINS = 8, 24  # half of them with poison


@pytest.fixture
def _refused_voltage(database) -> Iterator[None]:
    database.execute(f"alter table meter_readings_history add constraint poison check (voltage <> {POISON})")
    yield
    database.execute("truncate meter_readings_history, dead_letters")
    database.execute("alter table meter_readings_history drop constraint poison")


@pytest.mark.usefixtures("_refused_voltage")
def test_one_poison_row_in_ten_thousand_costs_less_than_a_fifth_of_the_drain_rate(resources, database):
    # The least CPU seconds of each kind: noise only adds. On a busy machine it takes more drains to see the least.
    costs: dict[bool, list[float]] = {False: [], True: []}
    for drains in range(4, MOST_DRAINS + 1, 4):
        for poisoned in (False, True, True, False):
            costs[poisoned].append(_drain(resources, database, poisoned=poisoned))
        clean_rate, poisoned_rate = (READINGS / min(costs[poisoned]) for poisoned in (False, True))
        if drains >= LEAST_DRAINS and poisoned_rate / clean_rate > 0.8:
            break
    letters = database.execute("select count(*), count(distinct (entry_id, row)) from dead_letters").fetchone()
    assert letters == (drains // 2 * READINGS // GOOD_IN_A_POISON,) * 2
    print(f"{clean_rate:,.0f} readings a CPU second without poison, {poisoned_rate:,.0f} with")
    assert poisoned_rate / clean_rate > 0.8


def _drain(resources, database, *, poisoned: bool) -> float:
    """CPU seconds of a drain of READINGS readings in one shard."""
    now = int(time.time() * 1_000_000)
    for first in range(0, READINGS, READINGS_AN_ENTRY):
        numbers = range(first, first + READINGS_AN_ENTRY)
        is_poison = [poisoned and n % GOOD_IN_A_POISON == GOOD_IN_A_POISON // 2 for n in numbers]
        readings = [
            MeterReading(f"M-{n % 1000}", now - n, 1.0, POISON if bad else 230.0)
            for n, bad in zip(numbers, is_poison, strict=True)
        ]
        resources.stream.append(encode_entry(Entry(readings, [])), OWNER)
    shard, before = resources.stream.shard_of(OWNER), _cpu_seconds(database)
    while resources.stream.backlog(shard):
        drain_batch(resources, shard)
    return _cpu_seconds(database) - before


def _cpu_seconds(database) -> float:
    """Of this process, and of the Postgres processes that serve its pool."""
    backends = database.execute("select pid from pg_stat_activity where application_name = 'energy-worker'").fetchall()
    times = [psutil.Process(pid).cpu_times() for (pid,) in backends]
    return time.process_time() + sum(each.user + each.system for each in times)
