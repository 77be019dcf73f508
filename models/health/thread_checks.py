"""Checks of the threads that must live, in every process that publishes their ages."""

from models.health.checks import NO_POSTGRES, NO_REDIS, Check, good, wrong
from models.health.snapshot import Snapshot
from models.observability.threads import KEYS

# A round takes seconds at most, whatever state the servers are in.
STUCK_SECONDS = 30


def check_keys(snapshot: Snapshot) -> Check:
    """How long ago each web process read the keys. While Postgres is unavailable, they can't be read."""
    if snapshot.postgres is None:
        return NO_POSTGRES
    readers = [age for age in snapshot.thread_ages if age.thread == KEYS]
    if not readers:
        return good("No web process has used keys yet") if snapshot.redis else NO_REDIS
    oldest = max(readers, key=lambda age: age.seconds)
    judge = wrong if oldest.seconds > STUCK_SECONDS else good
    who = f"{oldest.process}, the oldest of {len(readers)}" if len(readers) > 1 else oldest.process
    return judge(f"Last read {oldest.seconds:.0f} s ago ({who})", lastReadSecondsAgo=round(oldest.seconds))


def check_threads(snapshot: Snapshot) -> Check:
    """All other threads that must live."""
    others = [age for age in snapshot.thread_ages if age.thread != KEYS]
    if not others:
        return good("No process has published threads yet", stuckThreads=0) if snapshot.redis else NO_REDIS
    stuck = [age for age in others if age.seconds > STUCK_SECONDS]
    if stuck:
        names = "; ".join(f"{age.thread} of {age.process} for {age.seconds:.0f} s" for age in stuck)
        return wrong(f"Without a completed round: {names}", stuckThreads=len(stuck))
    oldest = max(age.seconds for age in others)
    return good(f"All completed a round within {max(1, oldest):.0f} s", stuckThreads=0)
