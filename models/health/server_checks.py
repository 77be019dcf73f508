"""Checks of the servers: do they answer, is the schema current, do they keep what they acknowledge?"""

from models.health.checks import NO_POSTGRES, NO_REDIS, NO_SCHEMA, Check, Verdict, good, wrong
from models.health.durability import check_postgres_durability, check_redis_durability
from models.health.postgres_snapshot import PostgresSnapshot
from models.health.redis_snapshot import RedisSnapshot
from models.health.snapshot import Snapshot
from models.schema.revisions import known_revisions


def check_postgres(snapshot: Snapshot) -> Check:
    if not snapshot.postgres:
        return wrong(f"Postgres does not answer: {snapshot.postgres_error}")
    if snapshot.postgres.is_standby:
        return wrong("Postgres is a standby and takes no writes")
    return good(f"Postgres {snapshot.postgres.version // 10_000} answers")


def check_redis(snapshot: Snapshot) -> Check:
    if not snapshot.redis:
        return wrong(f"Redis does not answer: {snapshot.redis_error}")
    if snapshot.redis.info.get("role") == "slave":
        return wrong("Redis is a replica and takes no writes")
    return good(f"Redis {snapshot.redis.info.get('redis_version')} answers")


def check_migrations(postgres: PostgresSnapshot) -> Check:
    head, *earlier = known_revisions()
    revision = postgres.revision
    if revision is None:
        return wrong("The schema is missing", head=head)
    figures = {"revision": revision, "head": head}
    if revision in earlier:
        return wrong(f"The schema is at {revision}, behind {head}", **figures)
    if revision != head:  # during an upgrade: a migration suits the code before it
        return good(f"The schema is at {revision}, ahead of this code, whose newest is {head}", **figures)
    return good(f"The schema is at {head}, the newest revision", **figures)


def check_partitions(postgres: PostgresSnapshot) -> Check:
    ahead = postgres.days_ahead
    if ahead is None:
        return NO_SCHEMA
    if ahead < 1:
        return wrong(f"There is no partition for {'today' if ahead < 0 else 'tomorrow'}", daysAhead=ahead)
    return good(f"Partitions exist for {ahead} days ahead", daysAhead=ahead)


def check_durability(postgres: PostgresSnapshot | None, redis: RedisSnapshot | None) -> Check:
    """The settings of both servers in one check, except `maxmemory`, which belongs to the backlog."""
    checks = check_postgres_durability(postgres) if postgres else {}
    checks |= check_redis_durability(redis) if redis else {}
    found = [check.detail for name, check in checks.items() if check.verdict is Verdict.WRONG and name != "maxmemory"]
    if found:
        return wrong(f"Acknowledged readings may be lost: {'; '.join(found)}", wrongSettings=len(found))
    if not (postgres and redis):
        return NO_POSTGRES if redis else NO_REDIS
    return good("Acknowledged readings are on disk", wrongSettings=0)
