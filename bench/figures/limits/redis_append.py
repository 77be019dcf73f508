"""Raw limit, Redis: appends from one process with `appendfsync always`, one a round trip and 100 in a pipeline.

The entry is about as long as that of a single reading. No bound, token or limit is checked.
"""

import time
from collections.abc import Callable

from bench.bench import Bench
from bench.measured import Value

KEY = "bench:appended"
PAYLOAD = bytes(60)
PIPELINE = 100


def measure(bench: Bench) -> list[Value]:
    bench.stack.engine()
    seconds = bench.seconds(8, 3)
    with bench.stack.redis() as client:

        def one() -> int:
            client.xadd(KEY, {b"v1": PAYLOAD})
            return 1

        def many() -> int:
            with client.pipeline(transaction=False) as pipeline:
                for _ in range(PIPELINE):
                    pipeline.xadd(KEY, {b"v1": PAYLOAD})
                pipeline.execute()
            return PIPELINE

        try:
            single = _rate(one, seconds, lambda share: bench.show(share / 2, ""))
            piped = _rate(many, seconds, lambda share: bench.show(0.5 + share / 2, ""))
        finally:
            client.delete(KEY)
    return [
        Value("redis.appends", "raw: Redis, one append a round trip", single, "/s"),
        Value("redis.piped", f"raw: Redis, {PIPELINE} appends a pipeline", piped, "/s"),
    ]


def _rate(append: Callable[[], int], seconds: float, show: Callable[[float], None]) -> float:
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        count += append()
        if count % 1000 == 0:
            show(elapsed / seconds)
    return count / elapsed
