"""Findings on everything that the engine's guarantees depend on: what was found, why it matters, the remedy."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg

from models.health.checks import NO_REDIS, Check, Verdict, good, unknown, warning, wrong
from models.health.postgres_snapshot import PostgresSnapshot
from models.health.readiness import check_readiness
from models.health.remedies import REMEDIES, get_remedy
from models.health.server_checks import check_postgres_durability, check_redis_durability
from models.health.snapshot import CONNECT_SECONDS, Snapshot
from models.health.stored_rows import check_stored_rows
from models.settings import Settings

OLDEST_POSTGRES = "15"
OLDEST_REDIS = "6.2"
# A clock that is off by a second distorts analytics; one that is off by five is not synchronised.
CLOCK_WARNING_SECONDS = 1.0
CLOCK_WRONG_SECONDS = 5.0


@dataclass(frozen=True)
class Finding:
    name: str
    check: Check
    why: str
    remedy: str

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "verdict": str(self.check.verdict),
            "found": self.check.detail,
            "figures": self.check.figures,
            "why": self.why,
            "remedy": self.remedy,
        }


def examine(snapshot: Snapshot, *, debug: bool) -> list[Finding]:
    """Every finding, servers first. Queries Postgres once more, for the server's default time zone.

    `debug`: whether the environment of this process turns on Flask's debugger.
    """
    postgres, redis, settings = snapshot.postgres, snapshot.redis, snapshot.settings
    ready = check_readiness(snapshot)
    ready.pop("durability")  # each of its settings is a finding of its own below
    checks = {name: ready.pop(name) for name in ("disk", "postgres", "redis")}
    if postgres:
        checks["postgres version"] = _check_version("Postgres", str(postgres.version // 10_000), OLDEST_POSTGRES)
        checks["time zone"] = _check_time_zone(postgres, settings.database_url)
    if redis:
        checks["redis version"] = _check_version("Redis", str(redis.info.get("redis_version", "0")), OLDEST_REDIS)
    checks |= check_postgres_durability(postgres) if postgres else {}
    checks |= check_redis_durability(redis) if redis else {}
    checks["clocks"] = _check_clocks(snapshot)
    checks["shards"] = _check_shards(snapshot)
    checks["auth"] = _check_auth(settings)
    checks["stored rows"] = check_stored_rows(snapshot)
    checks["debug"] = wrong("FLASK_DEBUG is on") if debug else good("FLASK_DEBUG is off")
    if postgres and ready["partitions"].ok:
        ready["partitions"] = _check_days_ahead(postgres.days_ahead or 0, settings.partition_days_ahead)
    return [
        Finding(name, check, REMEDIES[name].why, get_remedy(name, check)) for name, check in (checks | ready).items()
    ]


def is_healthy(findings: list[Finding], *, strict: bool) -> bool:
    """`strict`: a warning counts as wrong."""
    bad = {Verdict.WRONG, Verdict.WARNING} if strict else {Verdict.WRONG}
    return not any(finding.check.verdict in bad for finding in findings)


def _check_version(server: str, version: str, oldest: str) -> Check:
    if [*map(int, version.split(".")[:2])] < [*map(int, oldest.split("."))]:
        return wrong(f"{server} {version} is older than {oldest}")
    return good(f"{server} {version}")


def _check_time_zone(postgres: PostgresSnapshot, database_url: str) -> Check:
    """The engine's sessions are set to UTC; others, such as psql's and pg_dump's, have the server's default."""
    if postgres.session_time_zone != "UTC":
        return wrong(f"The engine's sessions are in {postgres.session_time_zone}")
    try:
        with psycopg.connect(database_url, connect_timeout=CONNECT_SECONDS) as connection:
            row = connection.execute("show timezone").fetchone()
    except psycopg.Error as error:
        return unknown(f"Unknown: Postgres refused another connection ({type(error).__name__})")
    default = row[0] if row else ""
    if default not in ("UTC", "Etc/UTC", "GMT"):
        return warning(f"The engine's sessions are in UTC, the server's default is {default}")
    return good("The server's default is UTC")


def _check_clocks(snapshot: Snapshot) -> Check:
    ahead = {"this machine": 0.0}
    if snapshot.postgres:
        ahead["Postgres"] = snapshot.postgres.ahead_seconds
    if snapshot.redis:
        ahead["Redis"] = snapshot.redis.ahead_seconds
    if len(ahead) == 1:
        return unknown("Unknown without Postgres and Redis")
    apart = max(ahead.values()) - min(ahead.values())
    each = ", ".join(f"{name} {seconds:+.2f} s" for name, seconds in ahead.items())
    judge = wrong if apart > CLOCK_WRONG_SECONDS else warning if apart > CLOCK_WARNING_SECONDS else good
    return judge(f"The clocks are {apart:.2f} s apart ({each})", apartSeconds=round(apart, 3))


def _check_days_ahead(ahead: int, wanted: int) -> Check:
    if ahead < wanted - 1:  # just after midnight one day is missing until the task runs
        return warning(f"Partitions exist for {ahead} days ahead; PARTITION_DAYS_AHEAD is {wanted}", daysAhead=ahead)
    return good(f"Partitions exist for {ahead} days ahead", daysAhead=ahead)


def _check_shards(snapshot: Snapshot) -> Check:
    if not snapshot.redis:
        return NO_REDIS
    configured = snapshot.settings.stream_shards
    beyond = {n: shard.backlog for n, shard in snapshot.redis.shards.items() if n >= configured and shard.backlog}
    if beyond:
        others = ", ".join(f"shard {number} with {backlog:,}" for number, backlog in beyond.items())
        return warning(f"{configured} shards are configured; others still hold entries: {others}")
    return good(f"{configured} shards are configured")


def _check_auth(settings: Settings) -> Check:
    if settings.auth == "required":
        return good("AUTH is `required` in the environment of this command")
    hosts = {urlsplit(url).hostname for url in (settings.database_url, settings.redis_url)}
    if hosts <= {"127.0.0.1", "::1", "localhost"}:
        return warning("AUTH is `off`; both servers are on this machine")
    return wrong("AUTH is `off`: anybody who reaches the service may post and read")
