"""What the terminal leaves out. The log files have it all."""

import re
import time

# Lines of every start and stop, and advice that does not fit a stack for development.
HIDDEN = {
    "postgres": re.compile(
        "LOG:  (starting PostgreSQL|listening on|database system (was|is) shut down|database system is ready"
        "|received fast shutdown|aborting any active|shutting down|background worker .logical replication)"
    ),
    "redis": re.compile(
        "# (oO0|Redis version=|Configuration loaded|Server initialized|WARNING Memory overcommit"
        "|User requested shutdown|Redis is now ready)|:signal-handler "
    ),
    "web": re.compile(r"\[info +\] .*\[_granian(\.\w+)?\]$"),
    "worker": re.compile(r"\[info +\] .*\[celery\.\S+\]$|^(worker: Warm shutdown .*)?$"),
}
STORED = re.compile(r"\[info +\] batch_stored .*\breadings=(\d+)")
SUMMARY_SECONDS = 60.0


class Quiet:
    """Decides line by line what is shown, and adds up the batches."""

    def __init__(self) -> None:
        self._readings = self._batches = 0
        self._since = time.monotonic()

    def shows(self, program: str, line: str) -> bool:
        if stored := STORED.search(line):
            self._readings += int(stored[1])
            self._batches += 1
            return False
        return program not in HIDDEN or not HIDDEN[program].search(line)

    def summary(self) -> str | None:
        """A sentence about the batches of the last minute, once a minute; None if none was stored."""
        now = time.monotonic()
        if now - self._since < SUMMARY_SECONDS:
            return None
        readings, batches = self._readings, self._batches
        self._since, self._readings, self._batches = now, 0, 0
        return f"{readings:,} readings stored in the last minute, in {batches:,} batches" if batches else None
