"""Answer time: a device's wait for the answer to one reading, at 3,000 readings a second.

The client sends each request when it is due, and its time counts from then. Every answer counts.
"""

from bench.bench import Bench
from bench.load import clients
from bench.measured import Goal, Value, percentile
from bench.stack import ENGINE

RATE = 3_000  # readings a second
CONNECTIONS = 128


def measure(bench: Bench) -> list[Value]:
    stack = bench.stack
    stack.engine(*ENGINE)
    stack.empty()
    warm_up = bench.plan("singles", CONNECTIONS, rate=RATE, seconds=3)
    clients.paced(warm_up, bench.show)
    plan = bench.plan("singles", CONNECTIONS, rate=RATE, seconds=bench.seconds(30, 8))
    report = clients.paced(plan, bench.show)
    stack.wait_until_drained()
    p50, p99 = percentile(report.answers, 50), percentile(report.answers, 99)
    client = f"the client sent {percentile(report.late, 99):.1f} ms late at p99"
    sample = [percentile(report.answers, percent) for percent in (50, 90, 95, 99, 99.9, 100)]
    return [
        Value("answer.p50", f"ingest answered at {RATE:,}/s, p50", p50, "ms", samples=sample),
        Value("answer.p99", f"ingest answered at {RATE:,}/s, p99", p99, "ms", Goal(most=30), sample, client),
    ]
