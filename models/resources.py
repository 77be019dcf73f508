"""What a process holds open: its settings, its pool of Postgres connections, its stream."""

from dataclasses import dataclass

from models.database import Pool, open_web_pool, open_worker_pool
from models.settings import Settings
from models.stream.telemetry import TelemetryStream


@dataclass(frozen=True)
class Resources:
    settings: Settings
    database: Pool
    stream: TelemetryStream

    def close(self) -> None:
        self.database.close()
        self.stream.close()


def connect_web(settings: Settings) -> Resources:
    """For a web process or a command. Open after a fork: the pool has threads and sockets of its own."""
    return Resources(settings, open_web_pool(settings), TelemetryStream(settings))


def connect_worker(settings: Settings) -> Resources:
    """For a worker process. Open after a fork."""
    return Resources(settings, open_worker_pool(settings), TelemetryStream(settings))
