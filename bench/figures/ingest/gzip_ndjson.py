"""Gzip NDJSON: 10,000 readings a request, compressed; stored a second.

The bodies are compressed beforehand (zlib's level 6), as devices do on processors of their own. They have the same
readings as the bulk figure.
"""

import gzip
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from pathlib import Path

from bench import fleet
from bench.bench import Bench
from bench.figures.ingest.sustained import Load, measure_sustained
from bench.measured import Value

CONNECTIONS = 4
READINGS = 10_000  # a request
MOST_WAITING = 30  # entries
# Enough for 300,000 readings a second; beyond that bodies are repeated.
BODIES_A_SECOND = 30
PROCESSES = 2


def measure(bench: Bench) -> list[Value]:
    seconds = bench.seconds(30, 12)
    pool = bench.stack.home / "gzip.pool"
    write_pool(pool, fleet.day_start(), int(seconds * BODIES_A_SECOND), bench.show)
    try:
        load = Load(bench.plan("pool", CONNECTIONS, seconds=seconds, file=str(pool)), READINGS, MOST_WAITING)
        return measure_sustained(bench, "gzip.stored", "gzip NDJSON readings stored", load)
    finally:
        pool.unlink()


def write_pool(file: Path, start: datetime, count: int, show) -> None:
    """Writes the bodies, each after a line with its length."""
    with ProcessPoolExecutor(PROCESSES) as processes, file.open("wb") as pool:
        chunks = [(start, number, count) for number in range(PROCESSES)]
        for done, bodies in enumerate(processes.map(_compressed, chunks), 1):
            for body in bodies:
                pool.write(b"%d\n" % len(body) + body)
            show(done / PROCESSES, "compressing the bodies")


def _compressed(chunk: tuple[datetime, int, int]) -> list[bytes]:
    start, number, count = chunk
    minutes = fleet.Minutes(start, READINGS, ndjson=True)
    part = range(count * number // PROCESSES, count * (number + 1) // PROCESSES)
    return [gzip.compress(minutes.body(n), compresslevel=6, mtime=0) for n in part]
