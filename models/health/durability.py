"""The servers' settings that "accepted" rests on: is what they acknowledge on disk, and does it stay?"""

from models.health.checks import Check, good, unknown, warning, wrong
from models.health.snapshot import DURABLE_SETTINGS, Snapshot
from models.stream.appender import MEMORY_SHARE

# Below this share of free memory it is time to give Redis more; at MEMORY_SHARE used requests get 503.
FREE_MEMORY_SHARE = 0.2
MIB = 1024 * 1024


def check_durability(snapshot: Snapshot) -> dict[str, Check]:
    """A check for each setting, by the name it has in its server; none for a server that is away."""
    checks = {}
    if snapshot.postgres:
        checks |= {name: _check_on(name, snapshot.postgres.settings[name]) for name in DURABLE_SETTINGS}
    if snapshot.redis:
        info = snapshot.redis.info
        checks["appendonly"] = _check_on("appendonly", "on" if info.get("aof_enabled") else "off")
        checks["appendfsync"] = _check_appendfsync(snapshot.redis.appendfsync)
        checks["append-only file"] = _check_append_only_file(info)
        checks["maxmemory-policy"] = _check_policy(info.get("maxmemory_policy", "noeviction"))
        checks["maxmemory"] = check_memory(info)
    return checks


def _check_on(name: str, value: str) -> Check:
    # synchronous_commit has values between: all but `off` have the commit on this server's disk.
    return wrong(f"{name} is off") if value == "off" else good(f"{name} is {value}")


def _check_appendfsync(value: str | None) -> Check:
    if value is None:
        return unknown("Redis does not let appendfsync be read (CONFIG GET)")
    if value == "everysec":
        return warning("appendfsync is everysec: up to 2 s of acknowledged readings go with a machine that fails")
    return good("appendfsync is always") if value == "always" else wrong(f"appendfsync is {value}")


def _check_append_only_file(info: dict) -> Check:
    if info.get("aof_last_write_status", "ok") != "ok":
        return wrong("the last write to the append-only file failed; Redis refuses to take more")
    if info.get("aof_last_bgrewrite_status", "ok") != "ok":
        return warning("the last rewrite of the append-only file failed; the file only grows")
    return good(f"written; {info.get('aof_current_size', 0) / MIB:,.0f} MiB")


def _check_policy(value: str) -> Check:
    if value == "noeviction":
        return good("maxmemory-policy is noeviction")
    return wrong(f"maxmemory-policy is {value}: where memory is short, Redis evicts accepted readings")


def check_memory(info: dict) -> Check:
    used, bound = info["used_memory"], info.get("maxmemory", 0)
    if not bound:
        return warning(f"maxmemory is not set; {used / MIB:,.0f} MiB used", usedBytes=used)
    told = f"{used / MIB:,.0f} of {bound / MIB:,.0f} MiB used"
    figures = {"usedBytes": used, "maxBytes": bound}
    if used > bound * MEMORY_SHARE:
        return wrong(f"Redis is out of memory: {told}", **figures)
    if used > bound * (1 - FREE_MEMORY_SHARE):
        return warning(f"little memory is free: {told}", **figures)
    return good(told, **figures)
