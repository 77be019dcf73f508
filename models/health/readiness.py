"""Is the engine ready? A check for each part that accepted readings need on their way, with its figure."""

from models.health.checks import Check, Verdict, good, unknown, warning, wrong
from models.health.durability import check_durability, check_memory
from models.health.snapshot import Snapshot, known_revisions
from models.observability.heartbeats import BEAT, SILENT_SECONDS, SWEEP, WORKER
from models.readings import rfc3339

# A backlog whose oldest entry is older than this, with a position that did not move for as long, is stuck.
STUCK_SECONDS = 30
# A watermark that is so old and did not move for as long stands still.
ROLLUPS_STILL_SECONDS = 300

_NO_FAILURE = "no failure was noted; is a worker running, does something hold a lock in Postgres?"
_NO_POSTGRES = unknown("can't be told without Postgres")
_NO_REDIS = unknown("can't be told without Redis")
_NO_SCHEMA = unknown("can't be told without the schema")


def check_readiness(snapshot: Snapshot) -> dict[str, Check]:
    """Every part by name, in the order in which to look at them: what comes first explains what comes later.

    Whatever is wrong makes the engine not ready: from servers out of reach to a beat that does not ring, each
    either refuses readings now, or keeps accepted ones from being stored, or lets them be lost in a crash. That
    is for people and alarms to know. It is not for a load balancer to act on: this process goes on taking
    readings while Postgres, beat or the workers are away, and no other web is better off. A balancer asks
    /health/live. What can't be told, because of something that is named, is no reason of its own.
    """
    return {
        "postgres": _check_postgres(snapshot),
        "migrations": _check_migrations(snapshot),
        "partitions": _check_partitions(snapshot),
        "redis": _check_redis(snapshot),
        "durability": _check_durability(snapshot),
        "backlog": _check_backlog(snapshot),
        "drain": _check_drain(snapshot),
        "stream": _check_stream(snapshot),
        "beat": _check_beat(snapshot),
        "workers": _check_workers(snapshot),
        "rollups": _check_rollups(snapshot),
    }


def failed_checks(checks: dict[str, Check]) -> dict[str, str]:
    """What is wrong, by name."""
    return {name: check.detail for name, check in checks.items() if check.verdict is Verdict.WRONG}


def _check_postgres(snapshot: Snapshot) -> Check:
    if not snapshot.postgres:
        return wrong(f"Postgres does not answer: {snapshot.postgres_error}")
    if snapshot.postgres.is_standby:
        return wrong("Postgres is a standby: it can't be written to")
    return good(f"Postgres {snapshot.postgres.version // 10_000} answers")


def _check_migrations(snapshot: Snapshot) -> Check:
    if not snapshot.postgres:
        return _NO_POSTGRES
    head, *earlier = known_revisions()
    revision = snapshot.postgres.revision
    if revision is None:
        return wrong("the schema is missing; run `alembic upgrade head`", head=head)
    figures = {"revision": revision, "head": head}
    if revision in earlier:
        return wrong(f"the schema is at {revision}, behind {head}; run `alembic upgrade head`", **figures)
    if revision != head:  # in the middle of an upgrade: migrations suit the code before them
        return good(f"the schema is at {revision}, ahead of this code, which knows {head}", **figures)
    return good(f"the schema is at {head}, the head", **figures)


def _check_partitions(snapshot: Snapshot) -> Check:
    if not snapshot.postgres:
        return _NO_POSTGRES
    if snapshot.postgres.days_ahead is None:
        return _NO_SCHEMA
    ahead = snapshot.postgres.days_ahead
    if ahead < 1:
        day = "today" if ahead < 0 else "tomorrow"
        return wrong(f"there is no partition for {day}; run `energy partitions ensure`", daysAhead=ahead)
    return good(f"made for {ahead} days ahead", daysAhead=ahead)


def _check_redis(snapshot: Snapshot) -> Check:
    if not snapshot.redis:
        return wrong(f"Redis does not answer: {snapshot.redis_error}")
    if snapshot.redis.info.get("role") == "slave":
        return wrong("Redis is a replica: it can't be written to")
    return good(f"Redis {snapshot.redis.info.get('redis_version')} answers")


def _check_durability(snapshot: Snapshot) -> Check:
    """The servers' settings in one; but for `maxmemory`, which the backlog tells."""
    found = {name: detail for name, detail in failed_checks(check_durability(snapshot)).items() if name != "maxmemory"}
    if found:
        return wrong(f"what is acknowledged may be lost: {'; '.join(found.values())}", wrongSettings=len(found))
    if not (snapshot.postgres and snapshot.redis):
        return _NO_POSTGRES if snapshot.redis else _NO_REDIS
    return good("what is acknowledged is on disk", wrongSettings=0)


def _check_backlog(snapshot: Snapshot) -> Check:
    if not snapshot.redis:
        return _NO_REDIS
    bound = snapshot.settings.shard_max_entries
    entries = sum(shard.backlog for shard in snapshot.redis.shards.values())
    figures = {"entries": entries, "maxEntriesPerShard": bound}
    full = [
        f"shard {number} is full with {shard.backlog:,} of {bound:,} entries"
        for number, shard in snapshot.redis.shards.items()
        if shard.backlog >= bound
    ]
    memory = check_memory(snapshot.redis.info)
    if memory.verdict is Verdict.WRONG:
        full.append(memory.detail)
    if full:
        return wrong(f"{'; '.join(full)}: requests get 503 until it is drained", **figures)
    return good(f"{entries:,} entries; a shard takes up to {bound:,}", **figures)


def _check_drain(snapshot: Snapshot) -> Check:
    if missing := _missing(snapshot):
        return missing
    stuck = []
    for number, shard in snapshot.redis.shards.items():
        # A position that never moved has stood still for as long as its oldest entry waits.
        still = min(_still_seconds(snapshot, number), shard.lag_seconds)
        if shard.backlog and still > STUCK_SECONDS:
            failure = snapshot.positions.get(number, {}).get("failure") or _NO_FAILURE
            stuck.append(f"shard {number} has not moved for {still:.0f} s: {failure}")
    lag = max((shard.lag_seconds for shard in snapshot.redis.shards.values()), default=0.0)
    figures = {"lagSeconds": round(lag, 3), "stuckShards": len(stuck)}
    if stuck:
        return wrong("; ".join(stuck), **figures)
    waiting = any(shard.backlog for shard in snapshot.redis.shards.values())
    return good(f"moves; the oldest entry is {lag:.1f} s old" if waiting else "nothing waits", **figures)


def _missing(snapshot: Snapshot) -> Check | None:
    """Why stream and positions can't be held against each other; None where they can."""
    if not snapshot.redis:
        return _NO_REDIS
    if not snapshot.postgres:
        return _NO_POSTGRES
    return _NO_SCHEMA if snapshot.positions is None else None


def _still_seconds(snapshot: Snapshot, shard: int) -> float:
    """How long the shard's position did not move."""
    moved_at = snapshot.positions.get(shard, {}).get("moved_at")
    return (snapshot.postgres.now - moved_at).total_seconds() if moved_at else float("inf")


def _check_stream(snapshot: Snapshot) -> Check:
    """Whether each stream matches its stored position, now and since the last noted divergence."""
    if missing := _missing(snapshot):
        return missing
    if snapshot.diverged_shards is None:
        return unknown("a server went away in the middle of the look")
    if snapshot.diverged_shards:
        return wrong(
            f"diverged from the stored positions: shards {snapshot.diverged_shards}; the next drain repairs them"
        )
    if diverged := {n: row["diverged_at"] for n, row in snapshot.positions.items() if row["diverged_at"]}:
        times = ", ".join(f"shard {shard} at {rfc3339(moment, 'seconds')}" for shard, moment in diverged.items())
        return good(f"diverged and was repaired: {times}; what was lost: docs/guarantees.md")
    return good("matches the stored positions")


def _check_beat(snapshot: Snapshot) -> Check:
    if not snapshot.redis:
        return _NO_REDIS
    silent = snapshot.redis.heartbeat_ages.get(BEAT)
    if silent is None:
        return wrong("beat was not heard within an hour; start `celery -A workers beat`")
    figures = {"silentSeconds": round(silent)}
    if silent > SILENT_SECONDS:
        return wrong(f"beat has not rung for {silent:.0f} s; start `celery -A workers beat`", **figures)
    return good(f"rang {silent:.0f} s ago", **figures)


def _check_workers(snapshot: Snapshot) -> Check:
    """Workers are well where they are heard and, as long as beat rings, do what it asks for."""
    if not snapshot.redis:
        return _NO_REDIS
    heard = snapshot.redis.heartbeat_ages
    alive = sum(age <= SILENT_SECONDS for who, age in heard.items() if who.startswith(WORKER))
    figures = {"alive": alive}
    if not alive:
        return wrong(f"no worker was heard within {SILENT_SECONDS} s; start `celery -A workers worker`", **figures)
    beat_rings = heard.get(BEAT, float("inf")) <= SILENT_SECONDS
    if beat_rings and _idle_seconds(snapshot) > SILENT_SECONDS:
        return wrong(f"{alive} are there, but take no tasks; restart them", **figures)
    return good(f"{alive} heard within {SILENT_SECONDS} s", **figures)


def _idle_seconds(snapshot: Snapshot) -> float:
    """How long no worker did anything. Many drains at once may keep the sweep waiting: they show it too."""
    moves = [
        _still_seconds(snapshot, shard) for shard in snapshot.redis.shards if (snapshot.positions or {}).get(shard)
    ]
    return min([snapshot.redis.heartbeat_ages.get(SWEEP, float("inf")), *moves])


def _check_rollups(snapshot: Snapshot) -> Check:
    """Never a reason for not being ready: readings are taken and stored without, and all but the fleet is exact."""
    if not snapshot.postgres:
        return _NO_POSTGRES
    state = snapshot.postgres.rollups
    if state is None:
        return _NO_SCHEMA
    if state.watermark is None:
        return warning("nothing is rolled up yet", staleMarks=state.stale_marks)
    age = max(0.0, (snapshot.postgres.now - state.watermark).total_seconds())
    figures = {"watermarkAgeSeconds": round(age), "staleMarks": state.stale_marks}
    still = (snapshot.postgres.now - state.moved_at).total_seconds() if state.moved_at else age
    if min(age, still) > ROLLUPS_STILL_SECONDS:
        return warning(f"the watermark stands still since {still:.0f} s, and is {age:.0f} s old", **figures)
    return good(f"the watermark is {age:.0f} s old; {state.stale_marks:,} stale marks are pending", **figures)
