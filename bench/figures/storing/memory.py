"""Memory: whether web, worker and Redis grow under load, and the memory of a backlog in workers and Redis.

Resident memory of all processes of a program; shared pages count once. First, 3,000 single readings a second: the last
ten seconds of the load beside its first ten, after a warm-up that is longer than Redis keeps tokens. Then fresh workers
drain 100,000 entries of one reading each, and 500,000: the maximum. Last, a fresh Redis with the same settings is
filled with such entries, 100,000 at a time: its own count and its resident memory. A Redis that had more before does
not return all of it.
"""

import time
from collections.abc import Callable
from contextlib import suppress

import psutil
import redis

from bench import backlog
from bench.bench import Bench
from bench.load import clients
from bench.measured import Goal, Value, median
from bench.stack import ENGINE, Stack
from devstack import redis_server, server

ENTRIES = 100_000
STEPS, STEPS_QUICK = 5, 2
RATE, CONNECTIONS = 3_000, 128
# Redis keeps the token of an append for a minute, and removes it some time later.
WARM_UP_SECONDS = 100
DRAIN_SECONDS = 120
INTERVAL_SECONDS = 1.0  # each sample makes the kernel count pages
DRAIN_INTERVAL_SECONDS = 0.25
MIB = 2**20
PROGRAMS = ("web", "worker", "redis")


def measure(bench: Bench) -> list[Value]:
    stack = bench.stack
    stack.engine()
    stack.empty()
    steps = STEPS_QUICK if bench.is_quick else STEPS
    return [*_under_load(bench), *_of_workers(bench, steps), *_of_redis(bench, steps)]


def _under_load(bench: Bench) -> list[Value]:
    stack = bench.stack
    stack.engine(*ENGINE)
    time.sleep(bench.seconds(5, 2))
    start = resident(stack)
    with clients.beside(bench.plan("singles", CONNECTIONS, rate=RATE)):
        _snapshots(bench, bench.seconds(WARM_UP_SECONDS, 5), "warming up")
        snapshots = _snapshots(bench, bench.seconds(30, 12), f"{RATE:,} readings a second")
    stack.wait_until_drained()
    third = len(snapshots) // 3
    flat = None if bench.is_quick else Goal(most=1.1)  # the short warm-up ends before tokens are removed
    values = []
    for name in PROGRAMS:
        levels = [snapshot[name] / MIB for snapshot in snapshots]
        first, last = median(levels[:third]), median(levels[-third:])
        note = f"{start[name] / MIB:.3g} MiB at the start, {first:.3g} at the load's beginning"
        growth = f"{name} resident, the load's end over its beginning"
        values += [
            Value(f"memory.{name}", f"{name} resident at {RATE:,}/s", last, "MiB", None, levels, note),
            Value(f"memory.{name}.growth", growth, last / first, "×", flat),
        ]
    return values


def _snapshots(bench: Bench, seconds: float, what: str) -> list[dict[str, float]]:
    snapshots, started = [], time.monotonic()
    while (elapsed := time.monotonic() - started) < seconds:
        snapshots.append(resident(bench.stack))
        bench.show(elapsed / seconds, what)
        time.sleep(INTERVAL_SECONDS)
    return snapshots


def _of_workers(bench: Bench, steps: int) -> list[Value]:
    small, large = ENTRIES, steps * ENTRIES
    peaks = {size: _peak(bench, size) for size in (small, large)}
    bench.stack.empty()
    values = [
        Value(f"memory.worker.{size}", f"worker at most, draining {size:,} entries", peak / MIB, "MiB")
        for size, peak in peaks.items()
    ]
    return [
        *values,
        Value("memory.worker.flat", f"the same, {large:,} over {small:,} entries", peaks[large] / peaks[small], "×"),
    ]


def _peak(bench: Bench, entries: int) -> float:
    """In bytes. The worker runs only during the drain."""
    stack, levels = bench.stack, []
    stack.engine()
    with stack.redis() as client:
        backlog.put(client, backlog.single_entries(entries), backlog.SHARDS)
    bench.show(0.5, f"draining {entries:,} entries")
    stack.engine("worker", "beat")
    stack.wait_until(_watching(stack, levels), f"{entries:,} entries are not drained", DRAIN_SECONDS)
    stack.engine()
    return max(levels)


def _watching(stack: Stack, levels: list[float]) -> Callable[[], bool]:
    def is_drained() -> bool:
        levels.append(resident(stack)["worker"])
        time.sleep(DRAIN_INTERVAL_SECONDS)
        return stack.backlog() == 0

    return is_drained


def _of_redis(bench: Bench, steps: int) -> list[Value]:
    counted, held = [], []
    home = bench.stack.home / "memory"
    home.mkdir()
    with server.running(redis_server.prepare(home)) as url, redis.Redis.from_url(url) as client:
        process = psutil.Process(client.info("server")["process_id"])
        for step in range(steps + 1):
            counted.append(client.info("memory")["used_memory"] / MIB)
            held.append(_resident(process) / MIB)
            bench.show(step / steps, f"{step * ENTRIES:,} entries wait")
            if step < steps:
                backlog.put(client, backlog.single_entries(ENTRIES), backlog.SHARDS)
    note = f"{(counted[-1] - counted[0]) * MIB / steps / ENTRIES:.0f} bytes an entry of one reading"
    return [
        _slope("memory.redis.entries", f"Redis's own count, {ENTRIES:,} entries", counted, note),
        _slope("memory.redis.resident", f"Redis resident, {ENTRIES:,} entries", held),
    ]


def _slope(key: str, label: str, levels: list[float], note: str = "") -> Value:
    """The growth of a step."""
    return Value(key, label, (levels[-1] - levels[0]) / (len(levels) - 1), "MiB", None, levels, note)


def resident(stack: Stack) -> dict[str, float]:
    """Bytes of all processes of each program; a page that n of them share counts an n-th for each."""
    levels = {}
    for name, members in stack.families().items():
        if name in PROGRAMS:
            levels[name] = sum(map(_resident, members))
    return levels


def _resident(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return getattr(process.memory_full_info(), "pss", None) or process.memory_info().rss
    return 0
