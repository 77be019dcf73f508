"""What is stored a second while as much is sent as can be stored: how the three ingest figures are taken.

A client at full speed can make the web accept faster than the workers store, at their expense: all share the cores.
So the client stands still while too much waits, and the backlog stays where it is. Where that never happens, the web
is the limit.
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
    """`most_waiting` in entries: two seconds' worth or less."""

    plan: Plan
    readings: int  # a request
    most_waiting: int


def measure_sustained(bench: Bench, key: str, label: str, load: Load, goal: Goal | None = None) -> list[Value]:
    """Stored a second, with the samples from commit to commit. Raises BenchError where readings went astray."""
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
    # The client ends without the answers that are still out.
    if not accepted <= found <= accepted + load.plan.connections * load.readings:
        raise BenchError(f"{accepted:,} readings were accepted, and {found:,} are in history")
