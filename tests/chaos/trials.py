"""A trial: a fault under load, the recovery from it, and the audit."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import psutil
import psycopg
from rich.table import Table

from tests.chaos import data_faults, process_faults, server_faults
from tests.chaos.audit import Audit, audit
from tests.chaos.faults import FAULTS, Fault, Ground
from tests.chaos.ledger import Outcome, Tally

__all__ = ["FAULTS", "Trial", "data_faults", "inflict", "process_faults", "server_faults", "table_of"]

USUAL_BACKLOG = 200  # entries
LASTING_SECONDS = 0.5


@dataclass
class Trial:
    fault: Fault
    recovered_in: float  # seconds
    seen: Tally  # by clients, during fault and recovery
    audit: Audit | None = None


def inflict(ground: Ground, fault: Fault) -> Trial:
    """The fault and the recovery, under load. Fails if the recovery takes longer than the fault's bound."""
    ground.ledger.start_recent()
    fault.inflict(ground)
    recovered_in = recover(ground, fault.recovers_in)
    return Trial(fault, recovered_in, ground.ledger.recent)


def recover(ground: Ground, seconds: float) -> float:
    """Waits for the usual state: readings are accepted, and both workers store them at once.

    Returns the seconds until that began to last.
    """
    ended_at = time.monotonic()
    usual_since: list[float] = []

    def is_lasting() -> bool:
        if not _is_usual(ground, ended_at):
            usual_since.clear()
            return False
        usual_since.append(time.monotonic())
        return usual_since[-1] - usual_since[0] > LASTING_SECONDS

    ground.stack.wait_until(is_lasting, seconds, "is not as usual")
    return usual_since[0] - ended_at


def _is_usual(ground: Ground, since: float) -> bool:
    try:
        return (
            ground.ledger.last_accepted_at > since
            and ground.stack.backlog() < USUAL_BACKLOG
            and ground.stack.health()[0]
            and ground.stack.draining_workers(time.monotonic() - since) == 2
        )
    except (psycopg.Error, psutil.Error):
        return False


def inflict_and_audit(ground: Ground, fault: Fault) -> Trial:
    trial = inflict(ground, fault)
    with ground.fleet.paused():
        trial.audit = audit(ground.stack, ground.ledger)
    return trial


def table_of(trials: Iterable[Trial]) -> Table:
    table = Table(
        "fault", "accepted", "refused", "unknown", "slowest answer", "recovered in", "lost", "doubled", "wrong"
    )
    for trial in trials:
        counts = (
            f"{trial.seen.readings[outcome]:,}" for outcome in (Outcome.ACCEPTED, Outcome.REFUSED, Outcome.UNKNOWN)
        )
        found = trial.audit
        wrong = sum(count for name, count in found.faults.items() if name not in ("lost", "doubled")) if found else "–"
        table.add_row(
            trial.fault.name.replace("_", " "),
            *counts,
            f"{trial.seen.slowest_accepted:.2f} s",
            f"{trial.recovered_in:.1f} s",
            *([str(found.lost), str(found.doubled), str(wrong)] if found else ["–", "–", "–"]),
        )
    return table
