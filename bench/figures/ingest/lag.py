"""Lag: from the answer to a reading until a query finds it, at 333 and at 3,000 readings a second.

The answer's receipt names the reading's entry. Every 2 ms a connection reads each shard's position in Postgres, which
moves in the transaction that stores the readings. So the first time that it is at or after the entry, a query would
have found the reading. Every reading counts.
"""

import time
from bisect import bisect_left
from threading import Event, Thread

from bench import BenchError
from bench.bench import Bench
from bench.load import clients
from bench.measured import Goal, Value, percentile
from bench.stack import ENGINE, Stack
from models.stream.entry_ids import EntryId, parse_entry_id, parse_receipt

RATES = (333, 3_000)  # readings a second
CONNECTIONS = 128
INTERVAL_SECONDS = 0.002
GOALS = {"p50": Goal(most=150), "p99": Goal(most=500)}


class Positions:
    """A context manager: records in a thread when each shard's position was first seen."""

    def __init__(self, stack: Stack):
        self._stack = stack
        self._seen: dict[int, list[tuple[EntryId, float]]] = {}
        self._over = Event()
        self._thread = Thread(target=self._watch, name="positions", daemon=True)

    def __enter__(self) -> "Positions":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        with self._stack.connect() as connection:
            while not self._over.wait(INTERVAL_SECONDS):
                rows = connection.execute("select shard, entry_id from ingest_positions").fetchall()
                at = time.time()
                for shard, text in rows:
                    entry_id, seen = parse_entry_id(text), self._seen.setdefault(shard, [])
                    if not seen or seen[-1][0] != entry_id:
                        seen.append((entry_id, at))

    def lag_ms(self, answered_at: float, receipt: str) -> float:
        """Raises BenchError if the entry was never seen stored."""
        shard, entry_id = parse_receipt(receipt)
        seen = self._seen.get(shard, [])
        place = bisect_left(seen, entry_id, key=lambda each: each[0])
        if place == len(seen):
            raise BenchError(f"the reading with the receipt {receipt} was never stored")
        return max(0.0, seen[place][1] - answered_at) * 1000


def measure(bench: Bench) -> list[Value]:
    stack = bench.stack
    stack.engine(*ENGINE)
    stack.empty()
    values = []
    for number, rate in enumerate(RATES):
        plan = bench.plan("singles", CONNECTIONS, rate=rate, seconds=bench.seconds(30, 6), keep_receipts=True)
        with Positions(stack) as positions:
            report = clients.paced(plan, lambda share, _, n=number: bench.show((n + share) / len(RATES), ""))
            stack.wait_until_drained()
            time.sleep(10 * INTERVAL_SECONDS)  # the last position may be read after the trim
        lags = [positions.lag_ms(at, receipt) for at, receipt in report.receipts]
        for name, percent in (("p50", 50), ("p99", 99)):
            sample = [percentile(lags, each) for each in (50, 90, 99, 99.9, 100)]
            label = f"accepted → queryable at {rate:,}/s, {name}"
            values.append(Value(f"lag.{rate}.{name}", label, percentile(lags, percent), "ms", GOALS[name], sample))
    return values
