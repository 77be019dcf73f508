"""Scaling: two, four and eight shards, drained by one, two and four worker processes.

Two million readings, in entries of 1,000, are in the backlog when the doorbell rings for each shard. Only the workers
run, which were started before. The figure is their rate from the ring to the last commit. The tables are empty at
first, so compare these figures with each other only. The note has the limit, and the CPU of each program.
"""

import os
import sys
import time
from dataclasses import dataclass

from bench import backlog, fleet
from bench.bench import Bench
from bench.measured import Value
from bench.stack import Stack
from bench.watch import OTHERS, Usage, Watch, shares, usage

READINGS, READINGS_QUICK = 2_000_000, 600_000
SHARDS, PROCESSES = (2, 4, 8), (1, 2, 4)
# Prints the time of the ring: starting Python takes longer than a batch.
RING = """
import sys, time
from workers.doorbell import ring
print(time.time())
for shard in range(int(sys.argv[1])):
    ring(shard)"""
DRAIN_SECONDS = 300
# A process or machine at this share of its cores is at its limit.
BUSY = 0.9


@dataclass(frozen=True)
class Run:
    """Shares are those of one core."""

    stored_per_second: float
    cpu: dict[str, float]  # share by program
    busiest: tuple[str, float]  # the busiest process: its program, its share
    samples: list[tuple[float, int]]  # seconds since the ring, readings stored by then


def measure(bench: Bench) -> list[Value]:
    minutes = backlog.Minutes(fleet.day_start())
    entries = (READINGS_QUICK if bench.is_quick else READINGS) // minutes.size
    kinds = [(shards, processes) for shards in SHARDS for processes in PROCESSES]
    values = []
    for done, (shards, processes) in enumerate(kinds):
        detail = f"{shards} shards, {processes} worker {'process' if processes == 1 else 'processes'}"
        bench.show(done / len(kinds), detail)
        run = _drain(bench.stack, minutes, entries, shards, processes)
        key, note = f"scaling.{shards}.{processes}", f"{limit(run)}; {shares(run.cpu)}"
        values.append(Value(key, f"stored with {detail}", run.stored_per_second, "/s", None, run.samples, note))
    bench.stack.engine()
    bench.stack.empty()
    return values


def _drain(stack: Stack, minutes: backlog.Minutes, entries: int, shards: int, processes: int) -> Run:
    stack.engine()
    stack.empty()
    stack.engine("worker", STREAM_SHARDS=str(shards), WORKER_CONCURRENCY=str(processes))
    _ring(stack, shards)
    with stack.redis() as client:
        # Once the workers have taken these tasks, they are ready.
        stack.wait_until(lambda: client.llen("drain") == 0, "the workers do not start")
        backlog.put(client, map(minutes.entry, range(entries)), shards)
    before = usage(stack)
    with Watch(stack) as watch:
        rung = _ring(stack, shards)
        stack.wait_until_drained(DRAIN_SECONDS)
    after = usage(stack)
    stored = max(snapshot.stored for snapshot in watch.snapshots)
    seconds = next(snapshot.at for snapshot in watch.snapshots if snapshot.stored == stored) - rung
    samples = [(round(snapshot.at - rung, 2), snapshot.stored) for snapshot in watch.snapshots if snapshot.at >= rung]
    return Run(stored / seconds, _programs(before, after, seconds), _busiest(before, after, seconds), samples)


def _ring(stack: Stack, shards: int) -> float:
    """Rings for each shard; returns when, as `time.monotonic()`."""
    rang = float(stack.command([sys.executable, "-c", RING, str(shards)]))
    return time.monotonic() - (time.time() - rang)


def _programs(before: Usage, after: Usage, seconds: float) -> dict[str, float]:
    """CPU of each program over the seconds of the drain."""
    return {name: (after.cpu[name] - before.cpu[name]) / seconds for name in ("worker", "postgres", "redis")} | {
        OTHERS: (after.cpu[OTHERS] - before.cpu[OTHERS]) / (after.at - before.at)
    }


def _busiest(before: Usage, after: Usage, seconds: float) -> tuple[str, float]:
    computed = {name: used - before.processes.get(name, 0.0) for name, used in after.processes.items()}
    name = max((name for name in computed if not name.startswith("client")), key=computed.__getitem__)
    return name.split()[0], computed[name] / seconds


def limit(run: Run) -> str:
    """The resource that limits the rate."""
    name, busiest = run.busiest
    machine = sum(run.cpu.values()) / os.cpu_count()
    if machine >= BUSY:
        return f"limit: the cores ({name}'s busiest process {busiest:.0%})"
    if busiest >= BUSY:
        return f"limit: {name}, one process at {busiest:.0%}"
    return f"limit: drain and its backend wait for each other, {name}'s busiest process {busiest:.0%}"
