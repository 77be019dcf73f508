"""Samples stored readings, backlog and CPU while a load runs."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from threading import Event, Thread

import psutil

from bench import BenchError
from bench.stack import Stack

INTERVAL_SECONDS = 0.1
SNAPSHOTS_PER_USAGE = 10
# The beginning of a load does not show its pace: connections open, and the first batch is small.
WARM_UP_SECONDS = 2.0
OTHERS = "other programs"


@dataclass(frozen=True)
class Snapshot:
    at: float  # time.monotonic()
    stored: int  # readings
    waiting: int  # entries


@dataclass(frozen=True)
class Usage:
    at: float  # time.monotonic()
    cpu: dict[str, float]  # CPU seconds by program
    processes: dict[str, float]  # CPU seconds of each process, by program and number
    resident: dict[str, int]  # bytes by program


class Watch:
    """Takes snapshots in a thread, as a context manager. Each costs a small query and an XLEN for each shard."""

    def __init__(self, stack: Stack, stored: Callable[[], int] | None = None, waiting: Callable[[], int] | None = None):
        """`stored` and `waiting` default to the engine's."""
        self._stack = stack
        self._stored, self._waiting = stored or stack.stored, waiting or stack.backlog
        self.snapshots: list[Snapshot] = []
        self.usages: list[Usage] = []
        self._over = Event()
        self._thread = Thread(target=self._watch, name="watch", daemon=True)
        self._failure: Exception | None = None

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._failure:
            raise self._failure

    def _watch(self) -> None:
        try:
            while True:
                if len(self.snapshots) % SNAPSHOTS_PER_USAGE == 0:
                    self.usages.append(usage(self._stack))
                self.snapshots.append(Snapshot(time.monotonic(), self._stored(), self._waiting()))
                if self._over.wait(INTERVAL_SECONDS):
                    self.usages.append(usage(self._stack))
                    return
        except Exception as error:  # raised at the end of the watch
            self._failure = error


@dataclass(frozen=True)
class Pace:
    """The rate of storing between two snapshots, and the CPU that it took."""

    stored_per_second: float
    cpu: dict[str, float]  # share of one core, by program
    samples: list[int]  # readings stored a second, from commit to commit


def pace(watch: Watch) -> Pace:
    """From the first commit after the warm-up to the last one, since readings are stored in batches.

    Raises BenchError if there are not two.
    """
    started = watch.snapshots[0].at + WARM_UP_SECONDS
    snapshots = [snapshot for snapshot in watch.snapshots if snapshot.at >= started]
    commits = [after for before, after in pairwise(snapshots) if after.stored != before.stored]
    if len(commits) < 2:
        raise BenchError("not two batches were stored: too little for a rate")
    first, last = commits[0], commits[-1]
    usages = [each for each in watch.usages if started <= each.at <= last.at + SNAPSHOTS_PER_USAGE * INTERVAL_SECONDS]
    return Pace(
        (last.stored - first.stored) / (last.at - first.at),
        cpu_shares(usages, lambda each: each.cpu),
        [round((b.stored - a.stored) / (b.at - a.at)) for a, b in pairwise(commits)],
    )


def usage(stack: Stack) -> Usage:
    """CPU seconds and resident bytes of each program. A shared page counts for each process that has it."""
    cpu, processes, resident = {}, {}, {}
    for name, members in stack.families().items():
        cpu[name], resident[name] = 0.0, 0
        for number, member in enumerate(members):
            with suppress(psutil.NoSuchProcess):
                times = member.cpu_times()  # the parent's include those of children that ended, such as autovacuum's
                processes[f"{name} {member.pid}"] = times.user + times.system
                cpu[name] += times.user + times.system
                cpu[name] += times.children_user + times.children_system if number == 0 else 0
                resident[name] += member.memory_info().rss
    machine = psutil.cpu_times()
    cpu[OTHERS] = machine.user + machine.nice + machine.system + machine.softirq + machine.irq - sum(cpu.values())
    return Usage(time.monotonic(), cpu, processes, resident)


def cpu_shares(usages: list[Usage], seconds_of: Callable[[Usage], dict[str, float]]) -> dict[str, float]:
    """The CPU of each between the first and the last, in shares of one core."""
    if len(usages) < 2:
        return {}
    first, last = usages[0], usages[-1]
    before = seconds_of(first)
    return {name: (used - before.get(name, 0.0)) / (last.at - first.at) for name, used in seconds_of(last).items()}


def shares(cpu: dict[str, float]) -> str:
    """`web 105 %, postgres 22 %` of a core each, the busiest first."""
    busiest = sorted(cpu.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {share:.0%}" for name, share in busiest if share >= 0.01)
