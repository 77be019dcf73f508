"""Clients in processes of their own: at a rate, for a number of requests, or beside another load."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from bench import BenchError
from bench.load.client import ANSWER_SECONDS, Plan, Report
from devstack.programs import ROOT
from devstack.server import bound_to_parent

INTERVAL_SECONDS = 0.05
Show = Callable[[float, str], None]


def never() -> bool:
    return False


def elapsed_share(seconds: float) -> Callable[[], float]:
    """A function that returns the elapsed share of `seconds`, from now on."""
    started = time.monotonic()
    return lambda: (time.monotonic() - started) / seconds


@dataclass
class Sender:
    """One running client. It writes into a file: a full pipe would block it."""

    process: subprocess.Popen
    output: tempfile._TemporaryFileWrapper

    def report(self) -> Report:
        """Waits for the end of the client. Raises BenchError if it failed."""
        status = self.process.wait()
        self.output.seek(0)
        text = self.output.read()
        if status != 0:
            raise BenchError(f"the client failed (exit status {status}): {text[-500:].decode(errors='replace')}")
        result = json.loads(text.splitlines()[-1])
        return Report(
            **result
            | {
                "statuses": Counter({int(status): count for status, count in result["statuses"].items()}),
                "answers": array("d", result["answers"]),
                "late": array("d", result["late"]),
                "receipts": [tuple(receipt) for receipt in result["receipts"]],
            }
        )


def start(plan: Plan) -> Sender:
    output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the sender
    command = [sys.executable, "-m", "bench.load.client", json.dumps(asdict(plan))]
    process = subprocess.Popen(
        bound_to_parent(command, signal.SIGKILL),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    return Sender(process, output)


@contextmanager
def beside(plan: Plan) -> Iterator[list[Report]]:
    """A client that sends during the block; its report is in the list afterwards."""
    sender, reports = start(plan), []
    try:
        yield reports
        sender.process.terminate()
        reports.append(sender.report())
    finally:
        sender.process.kill()
        sender.process.wait()


def run(plans: list[Plan], show: Show, share: Callable[[], float], hold: Callable[[], bool] = never) -> list[Report]:
    """Runs the clients to their end; suspends them while `hold()`."""
    senders = [start(plan) for plan in plans]
    try:
        follow([sender.process for sender in senders], show, share, hold)
        return [sender.report() for sender in senders]
    finally:
        for sender in senders:
            sender.process.kill()
            sender.process.wait()


def follow(
    processes: list[subprocess.Popen], show: Show, share: Callable[[], float], hold: Callable[[], bool]
) -> float:
    """Waits for the end of the processes and shows progress; suspends them while `hold()`.

    Returns for how many seconds they were suspended.
    """
    held_seconds, is_held = 0.0, False
    while any(process.poll() is None for process in processes):
        time.sleep(INTERVAL_SECONDS)
        held_seconds += INTERVAL_SECONDS if is_held else 0
        show(min(1.0, done := share()), "")
        # After its time a client must run, or it would never end.
        if (wanted := done < 1 and hold()) != is_held:
            is_held = wanted
            for process in processes:
                process.send_signal(signal.SIGSTOP if is_held else signal.SIGCONT)
    return held_seconds


def paced(plan: Plan, show: Show) -> Report:
    """One client at its rate, for its seconds. Raises BenchError if it could not keep the rate."""
    report = run([plan], show, elapsed_share(plan.seconds))[0]
    if report.requests < 0.98 * plan.rate * plan.seconds:
        raise BenchError(
            f"of {plan.rate * plan.seconds:,.0f} requests that were due only {report.requests:,} could be sent: "
            f"every one of {plan.connections} connections waited for an answer"
        )
    if report.seconds > plan.seconds + ANSWER_SECONDS:
        raise BenchError("answers are missing")
    return report
