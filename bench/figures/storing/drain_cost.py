"""Drain: the cost of a reading for one drain, at backlogs of 10⁴, 10⁵, 10⁶ and 10⁷ readings.

Entries of 1,000 readings, the fleet's minutes in their order, are put straight into one shard, and one process drains
them with the worker's code. Commit, trim and log count; start, doorbell and linger do not. A first backlog is not
measured: after it every device has a live row and a place in the index. The sizes take turns while the tables grow, so
that neither growth nor a noisy moment favours one. Time is the median of the drains of a size. CPU is that of the
process, its Postgres backend and Redis, summed over the drains of a size, since CPU clocks are coarse. The goal bounds
the most expensive size over the cheapest.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from statistics import median

from bench import BenchError
from bench.bench import Bench
from bench.drainer import Drained
from bench.measured import Goal, Value
from devstack.programs import ROOT

# Number of drains by backlog in readings. All together they are less than a fleet day, which is one partition.
TIMES = {10**4: 40, 10**5: 12, 10**6: 4, 10**7: 2}
FIRST = 2 * 10**6
QUICK_TIMES = {10**4: 12, 10**5: 5, 10**6: 1}
QUICK_FIRST = 4 * 10**5
FLAT = Goal(most=1.5)
EXPONENTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def measure(bench: Bench) -> list[Value]:
    bench.stack.engine()
    bench.stack.empty()
    times, first = (QUICK_TIMES, QUICK_FIRST) if bench.is_quick else (TIMES, FIRST)
    drains: dict[int, list[Drained]] = {size: [] for size in times}
    sizes, done = in_turns(times), first
    for number, drained in enumerate(_drain(bench, [first, *sizes])):
        expected = sizes[number - 1] if number else first
        if drained.readings != expected:
            raise BenchError(f"{expected:,} readings waited, {drained.readings:,} were stored")
        if number:
            drains[expected].append(drained)
            done += expected
        bench.show(done / (first + sum(sizes)), f"{done:,} readings drained")
    bench.stack.empty()
    taken = [_time(size, each) for size, each in drains.items()]
    computed = [_cpu(size, each) for size, each in drains.items()]
    return [
        *taken,
        *computed,
        _flatness("drain.flat", "drain, time of the dearest backlog over the cheapest", taken, FLAT),
        _flatness("drain.cpu.flat", "drain, CPU of the dearest backlog over the cheapest", computed, FLAT),
    ]


def in_turns(times: dict[int, int]) -> list[int]:
    """Each key repeated by its value, evenly spread: {1: 4, 2: 2} → 1 2 1 1 2 1."""
    places = [((turn + 0.5) / count, key) for key, count in times.items() for turn in range(count)]
    return [key for _, key in sorted(places)]


def _drain(bench: Bench, sizes: list[int]) -> Iterator[Drained]:
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    command = [sys.executable, "-m", "bench.drainer", start.isoformat(), *map(str, sizes)]
    with (bench.stack.home / "log/drainer.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=bench.stack.environment, stdout=log, stderr=subprocess.PIPE, text=True
        )
    try:
        for _ in sizes:
            line = process.stderr.readline()
            try:
                yield Drained(**json.loads(line))
            except ValueError:
                raise BenchError(f"the drain failed: {(line + process.stderr.read()).strip()[-500:]}") from None
    finally:
        process.kill()
        process.wait()


def _time(size: int, drains: list[Drained]) -> Value:
    costs = [each.seconds / each.readings * 1e6 for each in drains]
    note = f"median of {len(costs)}" if len(costs) > 1 else ""
    return Value(f"drain.{size}", f"drain, time a reading of {_power(size)}", median(costs), "µs", None, costs, note)


def _cpu(size: int, drains: list[Drained]) -> Value:
    readings = sum(each.readings for each in drains)
    whole = sum(each.cpu for each in drains)
    parts = {
        "drain": sum(each.process_cpu for each in drains),
        "postgres": sum(each.postgres_cpu for each in drains),
        "redis": sum(each.redis_cpu for each in drains),
    }
    note = ", ".join(f"{name} {seconds / whole:.0%}" for name, seconds in parts.items())
    costs = [each.cpu / each.readings * 1e6 for each in drains]
    label = f"drain, CPU a reading of {_power(size)}"
    return Value(f"drain.cpu.{size}", label, whole / readings * 1e6, "µs", None, costs, note)


def _flatness(key: str, label: str, values: list[Value], goal: Goal) -> Value:
    costs = [value.value for value in values]
    return Value(key, label, max(costs) / min(costs), "×", goal)


def _power(size: int) -> str:
    return "10" + str(len(str(size)) - 1).translate(EXPONENTS)
