"""Readings stored a second while exactly as much is sent as can be stored; the method of three figures.

A client at full speed can make the web accept faster than the workers store, at their expense: all share the cores. So
the client is suspended while the backlog is above a bound. If that never happens, the web is the limit.
"""

from dataclasses import dataclass

from bench import BenchError
from bench.bench import Bench
from bench.load import full_speed
from bench.load.client import Plan
from bench.load.full_speed import Sent
from bench.measured import Goal, Value
from bench.stack import ENGINE
from bench.watch import Watch, pace, shares

DRAIN_SECONDS = 120


@dataclass(frozen=True)
class Load:
    """`most_waiting` is the bound of the backlog in entries: those of two seconds or less."""

    plan: Plan
    readings: int  # a request
    most_waiting: int


def measure_sustained(bench: Bench, key: str, label: str, load: Load, goal: Goal | None = None) -> list[Value]:
    """Stored a second, with samples from commit to commit. Raises BenchError if readings are missing or doubled."""
    stack = bench.stack
    stack.engine(*ENGINE)
    stack.empty()
    with Watch(stack) as watch:
        sent = full_speed.send(load.plan, bench.show, hold=lambda: stack.backlog() > load.most_waiting)
    found = pace(watch)
    bench.show(1, "waiting until all is stored")
    _check_conservation(bench, sent, load)
    note = f"client held back {sent.held:.0%} of the time; {shares(found.cpu)}"
    return [Value(key, label, found.stored_per_second, "/s", goal, found.samples, note)]


def _check_conservation(bench: Bench, sent: Sent, load: Load) -> None:
    bench.stack.wait_until_drained(DRAIN_SECONDS)
    accepted, found = sent.requests * load.readings, bench.stack.count_history()
    # The client may end before the last answers arrive.
    if not accepted <= found <= accepted + load.plan.connections * load.readings:
        raise BenchError(f"{accepted:,} readings were accepted, and {found:,} are in history")
