"""Is the engine ready: does each server answer, and do readings move?"""

import time
from dataclasses import dataclass

import psycopg
import redis
from psycopg_pool import PoolTimeout

from models.connections import Connections
from models.partitions import days_ahead
from models.positions import list_positions
from models.reconcile import shards_astray

# A backlog whose oldest entry is older than this, with a position that did not move for as long, is stuck.
STUCK_SECONDS = 30
# Readiness is asked every few seconds: it must not wait as long as a request may.
POSTGRES_WAIT_SECONDS = 1.0


@dataclass(frozen=True)
class Check:
    """What was found of one part; `detail` is for a person."""

    ok: bool
    detail: str

    def shown(self) -> dict:
        return {"ok": self.ok, "detail": self.detail}


def check_readiness(held: Connections) -> dict[str, Check]:
    """Postgres, Redis, the drains and the stream, each by name. Never raises for what is out of reach."""
    checks = {"postgres": _postgres(held), "redis": _redis(held)}
    for name, check in (("drain", _drain), ("stream", _stream)):
        both = checks["postgres"].ok and checks["redis"].ok
        checks[name] = check(held) if both else Check(False, "can't be told without Postgres and Redis")
    return checks


def _postgres(held: Connections) -> Check:
    try:
        with held.database.connection(timeout=POSTGRES_WAIT_SECONDS) as connection:
            ahead = days_ahead(connection)
    except psycopg.errors.UndefinedTable:
        return Check(False, "the schema is missing; run `alembic upgrade head`")
    except (psycopg.Error, PoolTimeout) as error:
        return Check(False, f"does not answer: {type(error).__name__}")
    if ahead < 1:
        return Check(False, f"partitions end in {ahead} days; run `flask partitions ensure`")
    return Check(True, f"answers; partitions for {ahead} days ahead")


def _redis(held: Connections) -> Check:
    try:
        backlog = sum(held.stream.backlog(shard) for shard in held.stream.known_shards())
    except redis.RedisError as error:
        return Check(False, f"does not answer: {type(error).__name__}")
    return Check(True, f"answers; backlog of {backlog} entries")


def _drain(held: Connections) -> Check:
    now = time.time()
    try:
        with held.database.connection(timeout=POSTGRES_WAIT_SECONDS) as connection:
            positions = {row["shard"]: row for row in list_positions(connection)}
        stuck = []
        oldest_age = 0.0
        for shard in held.stream.known_shards():
            oldest = held.stream.oldest(shard)
            if oldest is None:
                continue
            age = now - oldest.ms / 1000
            oldest_age = max(oldest_age, age)
            position = positions.get(shard, {})
            moved_at = position.get("moved_at")
            still = now - moved_at.timestamp() if moved_at else age
            if age > STUCK_SECONDS and still > STUCK_SECONDS:
                reason = position.get("failure") or "is a worker running?"
                stuck.append(f"shard {shard} has not moved for {still:.0f} s: {reason}")
    except (psycopg.Error, PoolTimeout, redis.RedisError) as error:
        return Check(False, f"can't be told: {type(error).__name__}")
    if stuck:
        return Check(False, "; ".join(stuck))
    return Check(True, f"moves; the oldest entry is {oldest_age:.1f} s old")


def _stream(held: Connections) -> Check:
    """Do stream and positions belong together; and did they always, as far as anybody noted?"""
    try:
        with held.database.connection(timeout=POSTGRES_WAIT_SECONDS) as connection:
            astray = shards_astray(connection, held.stream)
            went_back = {row["shard"]: row["went_back_at"] for row in list_positions(connection) if row["went_back_at"]}
    except (psycopg.Error, PoolTimeout, redis.RedisError) as error:
        return Check(False, f"can't be told: {type(error).__name__}")
    if astray:
        return Check(False, f"went back in time: shards {astray}; the next drain mends it")
    if went_back:
        told = ", ".join(f"shard {shard} at {moment:%Y-%m-%dT%H:%M:%SZ}" for shard, moment in went_back.items())
        return Check(True, f"went back in time and was mended: {told}; what was lost: docs/guarantees.md")
    return Check(True, "belongs to the positions")
