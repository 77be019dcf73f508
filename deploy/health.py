"""The health checks of the containers: `python -m deploy.health web PORT | worker | beat FOLDER`.

Exit status 0 if healthy; else 1 and the reason in a line, which `docker inspect` shows. Each checks that the process
does its work, not merely that it exists.
"""

import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

TIMEOUT_SECONDS = 4.0
# Beat writes its schedule every 3 minutes.
BEAT_SILENT_SECONDS = 600


def web(port: str) -> str | None:
    """None if the web answers, else the reason. The state of the servers behind it is for /health/ready."""
    connection = HTTPConnection("127.0.0.1", int(port), timeout=TIMEOUT_SECONDS)  # ignores proxy settings
    try:
        connection.request("GET", "/health/live")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return f"does not answer: {error or type(error).__name__}"
    finally:
        connection.close()
    return None if status == 200 else f"answers {status}"


def worker() -> str | None:
    """None if the workers drain the backlog and take tasks, else the reason.

    It covers all workers, since they share the shards. While Postgres or Redis is unavailable they are healthy: a
    restart would not help.
    """
    from models.health.readiness import check_readiness, failed_checks
    from models.health.snapshot import take_detailed_snapshot
    from models.settings import load_settings

    failed = failed_checks(check_readiness(take_detailed_snapshot(load_settings())))
    return failed.get("drain") or failed.get("workers")


def beat(folder: str) -> str | None:
    """None if beat wrote its schedule into the folder lately, else the reason."""
    written = max((file.stat().st_mtime for file in Path(folder).iterdir()), default=0)
    silent = time.time() - written
    return None if silent < BEAT_SILENT_SECONDS else f"has written no schedule for {silent:.0f} s"


if __name__ == "__main__":
    check = {"web": web, "worker": worker, "beat": beat}[sys.argv[1]]
    sys.exit(check(*sys.argv[2:]))
