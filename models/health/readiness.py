"""Readiness: a check for each part that accepted readings need on their way to Postgres."""

from models.health.checks import NO_POSTGRES, NO_REDIS, Check, Verdict
from models.health.disk_check import check_disk
from models.health.flow_checks import (
    check_backlog,
    check_beat,
    check_broker,
    check_drain,
    check_losses,
    check_rollups,
    check_stream,
    check_workers,
)
from models.health.remedies import get_remedy
from models.health.server_checks import (
    check_connections,
    check_durability,
    check_migrations,
    check_partitions,
    check_postgres,
    check_redis,
    check_slots,
    check_transactions,
)
from models.health.snapshot import Snapshot
from models.health.thread_checks import check_keys, check_threads


def check_readiness(snapshot: Snapshot) -> dict[str, Check]:
    """By part, in the order in which to look at them: an earlier one may explain a later one.

    Any wrong part makes the engine not ready: it refuses readings, does not store accepted ones, or may lose them in
    a crash. That is for people and alarms. A load balancer should use /health/live: a web process goes on accepting
    readings without Postgres, beat or the workers, and no other process can do better. What is unknown because of
    another part does not count.
    """
    postgres, redis = snapshot.postgres, snapshot.redis
    return {
        "disk": check_disk(snapshot.settings.checked_folders),
        "postgres": check_postgres(snapshot),
        "connections": check_connections(postgres, is_pool_busy=snapshot.is_pool_busy) if postgres else NO_POSTGRES,
        "transactions": check_transactions(postgres) if postgres else NO_POSTGRES,
        "slots": check_slots(postgres) if postgres else NO_POSTGRES,
        "migrations": check_migrations(postgres) if postgres else NO_POSTGRES,
        "partitions": check_partitions(postgres) if postgres else NO_POSTGRES,
        "redis": check_redis(snapshot),
        "durability": check_durability(postgres, redis),
        "backlog": check_backlog(redis, snapshot.settings.shard_max_entries) if redis else NO_REDIS,
        "drain": check_drain(snapshot),
        "stream": check_stream(snapshot),
        "losses": check_losses(postgres) if postgres else NO_POSTGRES,
        "broker": check_broker(redis) if redis else NO_REDIS,
        "beat": check_beat(redis) if redis else NO_REDIS,
        "workers": check_workers(redis, postgres) if redis else NO_REDIS,
        "keys": check_keys(snapshot),
        "threads": check_threads(snapshot),
        "rollups": check_rollups(postgres) if postgres else NO_POSTGRES,
    }


def failed_checks(checks: dict[str, Check], verdict: Verdict = Verdict.WRONG) -> dict[str, str]:
    """What is wrong (or a warning) and its remedy, by part."""
    return {
        name: f"{check.detail}. Remedy: {get_remedy(name, check)}"
        for name, check in checks.items()
        if check.verdict is verdict
    }
