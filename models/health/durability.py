"""The servers' settings that keep acknowledged readings on disk, a check for each."""

from typing import Any

from models.health.checks import Check, good, unknown, warning, wrong
from models.health.postgres_snapshot import DURABLE_SETTINGS, PostgresSnapshot
from models.health.redis_snapshot import RedisSnapshot
from models.stream.appender import MEMORY_SHARE

# Less free memory than this share is a warning; at MEMORY_SHARE used requests get 503.
FREE_MEMORY_SHARE = 0.2
MIB = 1024 * 1024


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
