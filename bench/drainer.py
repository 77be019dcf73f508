"""`python -m bench.drainer START SIZE …`: fills one shard and drains it, once for each size in readings.

It runs the worker's code without Celery, so that only the drain is measured: no doorbell, no start, no linger. The
readings are the fleet's minutes from START on. For each size it writes a `Drained` as a line of JSON to standard error;
standard output has the log.
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
    """CPU is in seconds."""

    readings: int
    seconds: float
    process_cpu: float
    postgres_cpu: float
    redis_cpu: float

    @property
    def cpu(self) -> float:
        return self.process_cpu + self.postgres_cpu + self.redis_cpu


def main(start: datetime, sizes: list[int]) -> None:
    # Imported here: the worker's modules need its settings, which the process that imports `Drained` lacks.
    from models.observability.logs import configure_logs
    from workers.app import current_resources

    resources = current_resources()
    configure_logs(resources.settings)  # as in a worker: the log is part of the cost
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
    """The drain, its Postgres backend and Redis. The pool has one connection, so one backend."""
    with resources.database.connection() as connection:
        backend = connection.info.backend_pid
    return [psutil.Process(), psutil.Process(backend), psutil.Process(client.info("server")["process_id"])]


def _drain_all(resources, processes: list[psutil.Process]) -> Drained:
    from workers.drain import drain_batch

    readings, before, began = 0, _cpu(processes), time.perf_counter()
    while resources.stream.backlog(SHARD):
        stored = drain_batch(resources, SHARD)
        if stored is None:
            raise BenchError("another drain has the shard, or it pauses after a failure")
        readings += stored.readings
    seconds = time.perf_counter() - began
    return Drained(readings, seconds, *(after - once for once, after in zip(before, _cpu(processes), strict=True)))


def _cpu(processes: list[psutil.Process]) -> list[float]:
    return [sum(process.cpu_times()[:2]) for process in processes]


if __name__ == "__main__":
    main(datetime.fromisoformat(sys.argv[1]), list(map(int, sys.argv[2:])))
