"""As fast as requests are answered: wrk if it is installed, else the load tool's pacer in two processes."""

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from bench import BenchError
from bench.load import clients
from bench.load.client import Plan
from bench.load.clients import Show
from bench.measured import percentile
from devstack.server import bound_to_parent

SCRIPT = Path(__file__).with_name("load.lua")
FALLBACK_PROCESSES = 2
# The share of requests that may fail without failing the figure.
BAD_SHARE = 0.001


@dataclass(frozen=True)
class Sent:
    requests: int  # answered with success
    seconds: float
    p50_ms: float
    p99_ms: float
    held: float  # share of the time in which the client was suspended

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def client_name() -> str:
    return "wrk" if shutil.which("wrk") else f"Python, {FALLBACK_PROCESSES} processes (wrk is not installed)"


def send(plan: Plan, show: Show, hold: Callable[[], bool] = clients.never) -> Sent:
    """Sends for `plan.seconds`, suspended while `hold()`. Raises BenchError if requests were refused."""
    sent, bad = (_wrk if shutil.which("wrk") else _python)(plan, show, hold)
    if bad > BAD_SHARE * (sent.requests + bad):
        raise BenchError(f"{bad:,} of {sent.requests + bad:,} requests were refused or broke")
    return sent


def _wrk(plan: Plan, show: Show, hold: Callable[[], bool]) -> tuple[Sent, int]:
    options = ["-t1", f"-c{plan.connections}", f"-d{plan.seconds:g}s", "--timeout", "30s", "-s", str(SCRIPT)]
    command = ["wrk", *options, f"http://127.0.0.1:{plan.port}", "--", plan.key, *_arguments(plan)]
    process = subprocess.Popen(
        bound_to_parent(command, signal.SIGKILL),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        held = clients.follow([process], show, clients.elapsed_share(plan.seconds), hold) / plan.seconds
        output = process.stdout.read().decode(errors="replace")
    finally:
        process.kill()
        process.wait()
    try:
        result = json.loads(output.splitlines()[-1])
    except (ValueError, IndexError):
        raise BenchError(f"wrk failed: {output.strip()[-500:]}") from None
    good = result["requests"] - result["refused"]
    sent = Sent(good, result["seconds"], result["p50_ms"], result["p99_ms"], held)
    return sent, result["refused"] + result["broken"]


def _arguments(plan: Plan) -> list[str]:
    match plan.source:
        case "minutes":
            return ["minutes", f"{datetime.fromisoformat(plan.start).astimezone(UTC).timestamp():.0f}", str(plan.size)]
        case "pool":
            return ["pool", plan.file]
        case "get":
            return ["get", plan.path, str(plan.choices)]
    return [plan.source]


def _python(plan: Plan, show: Show, hold: Callable[[], bool]) -> tuple[Sent, int]:
    processes = min(FALLBACK_PROCESSES, plan.connections)
    each = plan.connections // processes
    plans = [replace(plan, connections=each, first=number, step=processes) for number in range(processes)]
    held = 0.0

    def hold_and_count() -> bool:
        nonlocal held
        is_held = hold()
        held += clients.INTERVAL_SECONDS / plan.seconds if is_held else 0
        return is_held

    reports = clients.run(plans, show, clients.elapsed_share(plan.seconds), hold_and_count)
    answers = [answer for report in reports for answer in report.answers]
    if not answers:
        raise BenchError("nothing was answered")
    sent = Sent(
        sum(report.good for report in reports),
        max(report.seconds for report in reports),
        percentile(answers, 50),
        percentile(answers, 99),
        held,
    )
    bad = sum(report.requests - report.good for report in reports)
    return sent, bad
