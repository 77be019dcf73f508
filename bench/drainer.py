"""`python -m bench.drainer START SIZE …`: a process that fills one shard and drains it, once for each size in readings.

It runs what a worker runs, without Celery, so that nothing counts but the drain: no bell, no start, no linger. The
fleet's minutes come one after the other from START on. For each size it writes a `Drained` in a line of JSON to
standard error; standard output has the log.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime

import psutil
import redis

from bench import BenchError, backlog

SHARD = 0


@dataclass(frozen=True)
class Drained:
    """CPU seconds: of the drain's process, of its Postgres backend, of Redis."""

    readings: int
    seconds: float
    process_cpu: float
    postgres_cpu: float
    redis_cpu: float

    @property
    def cpu(self) -> float:
        return self.process_cpu + self.postgres_cpu + self.redis_cpu


def main(start: datetime, sizes: list[int]) -> None:
    # Not at the top: the worker's modules want its settings, and whoever starts us has none.
    from models.observability.logs import configure_logs
    from workers.app import current_resources

    resources = current_resources()
    configure_logs(resources.settings)  # as a worker does: its log is part of the cost
    minutes, number = backlog.Minutes(start), 0
    with redis.Redis.from_url(resources.settings.redis_url) as client:
        processes = _working_processes(resources, client)
        for size in sizes:
            entries = size // minutes.size
            backlog.put(client, map(minutes.entry, range(number, number + entries)))
            number += entries
            print(json.dumps(asdict(_drain_all(resources, processes))), file=sys.stderr, flush=True)
    resources.close()


def _working_processes(resources, client: redis.Redis) -> list[psutil.Process]:
    """The pool keeps its one connection: one thing is done at a time."""
    with resources.database.connection() as connection:
        backend = connection.info.backend_pid
    return [psutil.Process(), psutil.Process(backend), psutil.Process(client.info("server")["process_id"])]


def _drain_all(resources, processes: list[psutil.Process]) -> Drained:
    from workers.drain import drain_batch

    readings, before, began = 0, _cpu(processes), time.perf_counter()
    while resources.stream.backlog(SHARD):
        stored = drain_batch(resources, SHARD)
        if stored is None:
            raise BenchError("another drain has the shard, or it rests after a failure")
        readings += stored.readings
    seconds = time.perf_counter() - began
    return Drained(readings, seconds, *(after - once for once, after in zip(before, _cpu(processes), strict=True)))


def _cpu(processes: list[psutil.Process]) -> list[float]:
    return [sum(process.cpu_times()[:2]) for process in processes]


if __name__ == "__main__":
    main(datetime.fromisoformat(sys.argv[1]), list(map(int, sys.argv[2:])))
