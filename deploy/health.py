"""The containers' health checks: `python -m deploy.health web PORT | worker | beat FOLDER`.

Exit 0 for healthy; else 1 and the reason in a line, which `docker inspect` shows. A process that is there but does
no work is not healthy: nothing here looks at process ids.
"""

import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

TIMEOUT_SECONDS = 4.0
# Beat writes its schedule down every 3 minutes.
BEAT_SILENT_SECONDS = 600


def web(port: str) -> str | None:
    """Why the web is unwell: it does not answer. What lies behind it is /health/ready's business."""
    connection = HTTPConnection("127.0.0.1", int(port), timeout=TIMEOUT_SECONDS)  # never by way of a proxy
    try:
        connection.request("GET", "/health/live")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return f"does not answer: {error or type(error).__name__}"
    finally:
        connection.close()
    return None if status == 200 else f"answers {status}"


def worker() -> str | None:
    """Why the workers are unwell: there is a backlog, and its position does not move; or none is heard at work.

    Told of all workers together, since they share the shards. While Postgres or Redis is away they are well: they
    wait, and to start them anew would mend nothing.
    """
    from models.health.readiness import check_readiness, failed_checks
    from models.health.snapshot import take_close_snapshot
    from models.settings import load_settings

    wrong = failed_checks(check_readiness(take_close_snapshot(load_settings())))
    return wrong.get("drain") or wrong.get("workers")


def beat(folder: str) -> str | None:
    """Why beat is unwell: it has long not written down when it last rang."""
    written = max((file.stat().st_mtime for file in Path(folder).iterdir()), default=0)
    silent = time.time() - written
    return None if silent < BEAT_SILENT_SECONDS else f"has written no schedule for {silent:.0f} s"


if __name__ == "__main__":
    check = {"web": web, "worker": worker, "beat": beat}[sys.argv[1]]
    sys.exit(check(*sys.argv[2:]))
