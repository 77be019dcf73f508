"""A drain outside of Celery that competes for the shards: `python -m tests.chaos.rival_drain kill | pause | race`.

kill   commits one batch and kills itself before it trims the stream
pause  commits one batch and stops itself there; continued, it trims
race   drains in a tight loop for some seconds
"""

import os
import signal
import sys
import time

from models.stream.telemetry import TelemetryStream
from workers.app import current_resources
from workers.drain import drain_batch

RACE_SECONDS = 4
GIVE_UP_SECONDS = 25


def main(mode: str) -> int:
    resources = current_resources()
    trims = []
    trim = TelemetryStream.trim

    def trim_late(self, *arguments, **options):
        os.kill(os.getpid(), signal.SIGKILL if mode == "kill" else signal.SIGSTOP)
        trims.append(arguments)
        return trim(self, *arguments, **options)

    if mode != "race":
        TelemetryStream.trim = trim_late
    started = time.monotonic()
    while not trims and time.monotonic() < started + (RACE_SECONDS if mode == "race" else GIVE_UP_SECONDS):
        for shard in range(resources.stream.shards):
            if not trims and resources.stream.backlog(shard):
                drain_batch(resources, shard)
    resources.close()
    return 0 if trims or mode == "race" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
