"""Checks of the servers: do they answer, is the schema current, do they keep what they acknowledge?"""

from typing import Any

from models.causes import NO_CONNECTIONS, READ_ONLY, SCHEMA_LACKS
from models.health.checks import NO_POSTGRES, NO_REDIS, NO_SCHEMA, Check, Verdict, good, unknown, warning, wrong
from models.health.postgres_activity import end_sessions
from models.health.postgres_snapshot import DURABLE_SETTINGS, PostgresSnapshot
from models.health.redis_snapshot import RedisSnapshot
from models.health.snapshot import Outage, Snapshot
from models.revisions import known_revisions
from models.stream.appender import MEMORY_SHARE

# Less free memory than this share is a warning; at MEMORY_SHARE used requests get 503.
FREE_MEMORY_SHARE = 0.2
MIB = 1024 * 1024
# More than this share in use is a warning: a restart of web and workers needs some.
FULL_SHARE = 0.9
BUSY_POOL_REMEDY = (
    "energy_request_seconds by route shows the slow reads: give their key fewer requests (--requests-per-second), "
    "or raise DB_POOL_SIZE"
)
# A replica that restarts falls behind by less.
SLOT_BYTES = 64 * MIB


def check_postgres(snapshot: Snapshot) -> Check:
    if not snapshot.postgres:
        return _outage("Postgres", snapshot.postgres_outage)
    if snapshot.postgres.is_standby or snapshot.postgres.is_read_only:
        kind = "a standby" if snapshot.postgres.is_standby else "read-only"
        return wrong(f"Postgres is {kind} and takes no writes").with_remedy(READ_ONLY.remedy)
    return good(f"Postgres {snapshot.postgres.version // 10_000} answers")


def _outage(server: str, outage: Outage | None) -> Check:
    outage = outage or Outage("unknown error", None)
    return wrong(f"{server} does not answer: {outage.text}").with_remedy(outage.remedy)


def check_redis(snapshot: Snapshot) -> Check:
    if not snapshot.redis:
        return _outage("Redis", snapshot.redis_outage)
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
    if postgres.missing_tables and revision == head:
        missing = ", ".join(postgres.missing_tables)
        return wrong(f"The schema is at {head}, but lacks {missing}", **figures).with_remedy(SCHEMA_LACKS.remedy)
    if not revision.isdigit():
        return warning(f"The schema is at {revision}, which is no revision of this product", **figures)
    if revision != head:  # during an upgrade: a migration suits the code before it
        return good(f"The schema is at {revision}, ahead of this code, whose newest is {head}", **figures)
    return good(f"The schema is at {head}, the newest revision", **figures)


def check_connections(postgres: PostgresSnapshot, *, is_pool_busy: bool) -> Check:
    used, bound = postgres.connections, postgres.max_connections
    figures = {"used": used, "max": bound}
    if used >= bound * FULL_SHARE:
        return warning(f"{used} of {bound} connections are in use: Postgres refuses more", **figures).with_remedy(
            NO_CONNECTIONS.remedy
        )
    if is_pool_busy:
        detail = "All connections of a web process are in use: its requests wait for one, and may get 503"
        return warning(detail, **figures).with_remedy(BUSY_POOL_REMEDY)
    return good(f"{used} of {bound} connections are in use", **figures)


def check_transactions(postgres: PostgresSnapshot) -> Check:
    if found := postgres.long_transactions:
        named = ", ".join(map(str, found))
        return warning(f"Transactions stay open: {named}", listed=len(found)).with_remedy(end_sessions(found))
    return good("No transaction of another program is long")


def check_slots(postgres: PostgresSnapshot) -> Check:
    kept = [slot for slot in postgres.idle_slots if slot.bytes >= SLOT_BYTES]
    if not kept:
        return good("No replication slot keeps old log")
    named = ", ".join(f"`{slot.name}` {slot.bytes / MIB:,.0f} MiB" for slot in kept)
    ended = "; ".join(f"select pg_drop_replication_slot('{slot.name}')" for slot in kept)
    return warning(f"Replication slots without a reader keep log on disk: {named}", slots=len(kept)).with_remedy(
        f"start the reader; if there is none any more, in psql: {ended}"
    )


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


# ── The settings that keep acknowledged readings on disk ─────────────────────────────────────────────────────


def check_postgres_durability(postgres: PostgresSnapshot) -> dict[str, Check]:
    """By the name of the setting."""
    return {name: _check_on(name, postgres.settings[name]) for name in DURABLE_SETTINGS}


def check_redis_durability(redis: RedisSnapshot) -> dict[str, Check]:
    """By the name of the setting."""
    return {
        "appendonly": _check_on("appendonly", "on" if redis.info.get("aof_enabled") else "off"),
        "appendfsync": _check_appendfsync(redis.appendfsync),
        "append-only file": _check_append_only_file(redis.info),
        "maxmemory-policy": _check_policy(redis.info.get("maxmemory_policy", "noeviction")),
        "maxmemory": check_memory(redis.info),
    }


def _check_on(name: str, value: str) -> Check:
    # synchronous_commit has other values too; all but `off` wait for this server's disk.
    return wrong(f"{name} is off") if value == "off" else good(f"{name} is {value}")


def _check_appendfsync(value: str | None) -> Check:
    if value is None:
        return unknown("Redis does not allow to read appendfsync (CONFIG GET)")
    if value == "everysec":
        return warning("appendfsync is everysec: if the machine fails, up to 2 s of acknowledged readings are lost")
    return good("appendfsync is always") if value == "always" else wrong(f"appendfsync is {value}")


def _check_append_only_file(info: dict[str, Any]) -> Check:
    if info.get("aof_last_write_status", "ok") != "ok":
        return wrong("the last write to the append-only file failed, and Redis refuses writes")
    if info.get("aof_last_bgrewrite_status", "ok") != "ok":
        return warning("the last rewrite of the append-only file failed, and the file keeps growing")
    return good(f"the append-only file has {info.get('aof_current_size', 0) / MIB:,.0f} MiB")


def _check_policy(value: str) -> Check:
    if value == "noeviction":
        return good("maxmemory-policy is noeviction")
    return wrong(f"maxmemory-policy is {value}: when memory runs short, Redis evicts accepted readings")


def check_memory(info: dict[str, Any]) -> Check:
    used, bound = info["used_memory"], info.get("maxmemory", 0)
    if not bound:
        return warning(f"maxmemory is not set; {used / MIB:,.0f} MiB are used", usedBytes=used)
    usage = f"{used / MIB:,.0f} of {bound / MIB:,.0f} MiB are used"
    figures = {"usedBytes": used, "maxBytes": bound}
    if used > bound * MEMORY_SHARE:
        return wrong(f"Redis is out of memory: {usage}", **figures)
    if used > bound * (1 - FREE_MEMORY_SHARE):
        return warning(f"Redis has little free memory: {usage}", **figures)
    return good(usage, **figures)
