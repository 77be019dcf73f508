"""Checks of a reading's way: is there room, do entries reach Postgres, do beat and the workers run?"""

from models.causes import find_cause
from models.health.checks import NO_POSTGRES, NO_REDIS, NO_SCHEMA, Check, Verdict, good, unknown, warning, wrong
from models.health.postgres_activity import end_sessions
from models.health.postgres_snapshot import PostgresSnapshot
from models.health.redis_snapshot import RedisSnapshot
from models.health.server_checks import check_memory
from models.health.snapshot import Snapshot
from models.observability.heartbeats import BEAT, SILENT_SECONDS, SWEEP, WORKER
from models.readings import rfc3339
from models.storage.positions import ShardPosition

# The roll-ups are stalled if the watermark is older than this and has not moved for as long.
ROLLUPS_STALLED_SECONDS = 300

_NEVER = float("inf")


def check_backlog(redis: RedisSnapshot, bound: int) -> Check:
    """`bound`: entries of one shard."""
    entries = sum(shard.backlog for shard in redis.shards.values())
    figures = {"entries": entries, "maxEntriesPerShard": bound}
    full = [
        f"shard {number} is full with {shard.backlog:,} of {bound:,} entries"
        for number, shard in redis.shards.items()
        if shard.backlog >= bound
    ]
    memory = check_memory(redis.info)
    if memory.verdict is Verdict.WRONG:
        full.append(memory.detail)
    if full:
        return wrong(f"Requests get 503: {'; '.join(full)}", **figures)
    return good(f"{entries:,} entries wait; a shard holds up to {bound:,}", **figures)


def check_drain(snapshot: Snapshot) -> Check:
    """What holds the drain, if it is stuck: sessions that block it, else the failure of the last batch."""
    redis, postgres = snapshot.redis, snapshot.postgres
    if not (redis and postgres):
        return NO_POSTGRES if redis else NO_REDIS
    if postgres.positions is None:
        return NO_SCHEMA
    lag = max((shard.lag_seconds for shard in redis.shards.values()), default=0.0)
    figures = {"lagSeconds": round(lag, 3), "stuckShards": len(snapshot.stuck_shards)}
    stuck, cause = [], None
    for number, still in snapshot.stuck_shards.items():
        position = postgres.positions.get(number)
        failure = redis.shards[number].failure or (position and position.failure)
        cause = cause or (failure and find_cause(failure))
        stuck.append(f"shard {number} has not moved for {still:.0f} s: {failure or 'no failure was recorded'}")
    if snapshot.blockers:
        stuck.append(f"blocked by {', '.join(map(str, snapshot.blockers))}")
        return wrong(f"The drain is stuck: {'; '.join(stuck)}", **figures).with_remedy(end_sessions(snapshot.blockers))
    if stuck:
        summary = f". {cause.summary}" if cause else ""
        found = wrong(f"The drain is stuck: {'; '.join(stuck)}{summary}", **figures)
        return found.with_remedy(cause.remedy) if cause else found
    is_waiting = any(shard.backlog for shard in redis.shards.values())
    return good(f"The oldest entry is {lag:.1f} s old" if is_waiting else "No entry waits", **figures)


def _still_seconds(position: ShardPosition | None, postgres: PostgresSnapshot) -> float:
    return postgres.seconds_since(position.moved_at) if position and position.moved_at else _NEVER


def check_stream(snapshot: Snapshot) -> Check:
    """Whether each stream matches its stored position now; and when it last did not."""
    if not (snapshot.redis and snapshot.postgres):
        return NO_POSTGRES if snapshot.redis else NO_REDIS
    positions, diverged_shards = snapshot.postgres.positions, snapshot.diverged_shards
    if positions is None:
        return NO_SCHEMA
    if diverged_shards is None:
        return unknown("Unknown: a server became unavailable during the check")
    if diverged_shards:
        return wrong(f"Diverged from the stored positions: shards {', '.join(map(str, diverged_shards))}")
    earlier = {n: position.diverged_at for n, position in positions.items() if position.diverged_at}
    if earlier:
        times = ", ".join(f"shard {shard} at {rfc3339(moment, 'seconds')}" for shard, moment in earlier.items())
        return good(f"Diverged and was repaired: {times}; docs/guarantees.md lists what may be lost")
    return good("Every stream matches its stored position")


def check_losses(postgres: PostgresSnapshot) -> Check:
    """At worst a warning: what is lost stays lost, however ready the engine is."""
    if postgres.losses is None:
        return NO_SCHEMA
    if not postgres.losses:
        return good("No loss waits to be acknowledged", unacknowledged=0)
    count, newest = len(postgres.losses), postgres.losses[0]
    return warning(f"Losses not acknowledged: {count}; the newest: {newest.message}", unacknowledged=count)


def check_broker(redis: RedisSnapshot) -> Check:
    if not redis.garbage:
        return good("The broker's queues hold tasks")
    found = ", ".join(f"`{queue}` ({message})" for queue, message in redis.garbage.items())
    return wrong(f"What is no task waits in the broker's lists, and workers do not take it: {found}")


def check_beat(redis: RedisSnapshot) -> Check:
    age = redis.heartbeat_ages.get(BEAT)
    if age is None:
        return wrong("Beat was not seen within the last hour")
    judge = wrong if age > SILENT_SECONDS else good
    return judge(f"Beat was last seen {age:.0f} s ago", lastSeenSecondsAgo=round(age))


def check_workers(redis: RedisSnapshot, postgres: PostgresSnapshot | None) -> Check:
    """Whether workers run and, while beat does, take its tasks."""
    ages = redis.heartbeat_ages
    alive = sum(age <= SILENT_SECONDS for name, age in ages.items() if name.startswith(WORKER))
    if not alive:
        return wrong(f"No worker was seen within {SILENT_SECONDS} s", alive=alive)
    beat_runs = ages.get(BEAT, _NEVER) <= SILENT_SECONDS
    if beat_runs and _idle_seconds(redis, postgres) > SILENT_SECONDS:
        return wrong(f"Workers run ({alive}) but take no tasks", alive=alive)
    return good(f"Workers seen within {SILENT_SECONDS} s: {alive}", alive=alive)


def _idle_seconds(redis: RedisSnapshot, postgres: PostgresSnapshot | None) -> float:
    """How long no worker has finished anything. Many drains may delay the sweep; a position that moves counts too."""
    moves = []
    if postgres and postgres.positions:
        moves = [_still_seconds(postgres.positions.get(shard), postgres) for shard in redis.shards]
    return min([redis.heartbeat_ages.get(SWEEP, _NEVER), *moves])


def check_rollups(postgres: PostgresSnapshot) -> Check:
    """At worst a warning: readings are accepted and stored without roll-ups."""
    state = postgres.rollups
    if state is None:
        return NO_SCHEMA
    if state.watermark is None:
        return warning("No hour is rolled up yet", staleMarks=state.stale_marks)
    age = postgres.seconds_since(state.watermark)
    still = postgres.seconds_since(state.moved_at) if state.moved_at else age
    figures = {"watermarkAgeSeconds": round(age), "staleMarks": state.stale_marks}
    if min(age, still) > ROLLUPS_STALLED_SECONDS:
        return warning(f"The watermark is {age:.0f} s old and has not moved for {still:.0f} s", **figures)
    return good(f"The watermark is {age:.0f} s old; {state.stale_marks:,} stale marks wait", **figures)
