"""What the engine's guarantees rest on, examined: what was found of each, why it matters, how to mend it."""

from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg

from models.health.checks import Check, Verdict, good, unknown, warning, wrong
from models.health.durability import check_durability
from models.health.readiness import check_readiness
from models.health.remedies import REMEDIES, Remedy
from models.health.snapshot import CONNECT_SECONDS, PostgresSnapshot, RedisSnapshot, Snapshot

OLDEST_POSTGRES = 15
OLDEST_REDIS = (6, 2)
# A clock that is off by a second spoils figures; by five, readings are refused as ahead of time or come too late.
CLOCK_WARNING_SECONDS = 1.0
CLOCK_WRONG_SECONDS = 5.0


@dataclass(frozen=True)
class Finding:
    name: str
    check: Check
    remedy: Remedy

    def shown(self) -> dict:
        return {
            "name": self.name,
            "verdict": str(self.check.verdict),
            "found": self.check.detail,
            "figures": self.check.figures,
            "why": self.remedy.why,
            "mend": self.remedy.mend,
        }


def examine(snapshot: Snapshot, *, debug: bool) -> list[Finding]:
    """Every finding, servers first. Asks Postgres once more, for what its sessions are given by default.

    `debug`: whether this process's environment has Flask's debugger on.
    """
    ready = check_readiness(snapshot)
    ready.pop("durability")  # here each setting speaks for itself
    checks: dict[str, Check] = {}
    if snapshot.postgres:
        checks["postgres version"] = _check_postgres_version(snapshot.postgres)
        checks["time zone"] = _check_time_zone(snapshot)
    if snapshot.redis:
        checks["redis version"] = _check_redis_version(snapshot.redis)
    checks |= check_durability(snapshot)
    checks["clocks"] = _check_clocks(snapshot)
    checks["shards"] = _check_shards(snapshot)
    checks["keys"] = _check_keys(snapshot)
    checks["debug"] = wrong("FLASK_DEBUG is on") if debug else good("off")
    servers = {name: ready.pop(name) for name in ("postgres", "redis")}
    if snapshot.postgres and ready["partitions"].ok:
        ready["partitions"] = _check_days_ahead(snapshot)
    return [Finding(name, check, REMEDIES[name]) for name, check in (servers | checks | ready).items()]


def is_healthy(findings: list[Finding], *, strict: bool) -> bool:
    """`strict`: a warning counts as wrong."""
    bad = {Verdict.WRONG, Verdict.WARNING} if strict else {Verdict.WRONG}
    return not any(finding.check.verdict in bad for finding in findings)


def _check_postgres_version(postgres: PostgresSnapshot) -> Check:
    version = postgres.version // 10_000
    return good(f"{version}") if version >= OLDEST_POSTGRES else wrong(f"{version}, older than {OLDEST_POSTGRES}")


def _check_redis_version(redis: RedisSnapshot) -> Check:
    told = str(redis.info.get("redis_version", "0"))
    is_old = tuple(map(int, told.split(".")[:2])) < OLDEST_REDIS
    return wrong(f"{told}, older than {'.'.join(map(str, OLDEST_REDIS))}") if is_old else good(told)


def _check_time_zone(snapshot: Snapshot) -> Check:
    """The engine's sessions ask for UTC; others, as psql's and pg_dump's, get the server's."""
    session = snapshot.postgres.session_time_zone
    if session != "UTC":
        return wrong(f"the engine's sessions have {session}")
    try:
        with psycopg.connect(snapshot.settings.database_url, connect_timeout=CONNECT_SECONDS) as connection:
            default = connection.execute("show timezone").fetchone()[0]
    except psycopg.Error as error:
        return unknown(f"can't be told: {type(error).__name__}")
    if default not in ("UTC", "Etc/UTC", "GMT"):
        return warning(f"the engine's sessions have UTC, the server's default is {default}")
    return good("UTC")


def _check_clocks(snapshot: Snapshot) -> Check:
    ahead = {"this machine": 0.0}
    if snapshot.postgres:
        ahead["Postgres"] = snapshot.postgres.ahead_seconds
    if snapshot.redis:
        ahead["Redis"] = snapshot.redis.ahead_seconds
    if len(ahead) == 1:
        return unknown("can't be told without Postgres and Redis")
    apart = max(ahead.values()) - min(ahead.values())
    told = f"{apart:.2f} s apart ({', '.join(f'{name} {seconds:+.2f} s' for name, seconds in ahead.items())})"
    judge = wrong if apart > CLOCK_WRONG_SECONDS else warning if apart > CLOCK_WARNING_SECONDS else good
    return judge(told, apartSeconds=round(apart, 3))


def _check_days_ahead(snapshot: Snapshot) -> Check:
    ahead, wanted = snapshot.postgres.days_ahead, snapshot.settings.partition_days_ahead
    if ahead < wanted - 1:  # just after midnight one may be missing, until the task runs
        return warning(f"made for {ahead} days ahead, PARTITION_DAYS_AHEAD is {wanted}", daysAhead=ahead)
    return good(f"made for {ahead} days ahead", daysAhead=ahead)


def _check_shards(snapshot: Snapshot) -> Check:
    if not snapshot.redis:
        return unknown("can't be told without Redis")
    configured = snapshot.settings.stream_shards
    beyond = {n: shard.backlog for n, shard in snapshot.redis.shards.items() if n >= configured and shard.backlog}
    if beyond:
        told = ", ".join(f"shard {number} with {backlog:,}" for number, backlog in beyond.items())
        return warning(f"{configured} configured; others still hold entries: {told}")
    return good(f"{configured} configured, {len(snapshot.positions or {})} have stored readings")


def _check_keys(snapshot: Snapshot) -> Check:
    if snapshot.settings.auth == "required":
        return good("AUTH is required, as far as the environment of this command tells")
    urls = (snapshot.settings.database_url, snapshot.settings.redis_url)
    if all(urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost") for url in urls):
        return warning("AUTH is off, on a machine that has everything to itself")
    return wrong("AUTH is off: whoever reaches the service may post and read")
