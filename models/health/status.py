"""The engine's figures at this moment, for an operator: what goes in and out, what waits, what is kept."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import psycopg

from models.database import bounded
from models.health.snapshot import Snapshot, connect
from models.observability.heartbeats import WORKER
from models.readings import KINDS
from models.settings import DIRECT_SHARD
from models.storage.partitions import list_partitions

# Rates are averages over so long.
RATE_SECONDS = 60
# The newest batches of a shard that are looked at for them: with at most some 20 a second, more than there are.
_RATE_BATCHES = 2_000
# Sizes take longer than a look may: a folder of files is walked for them.
FIGURES_SECONDS = 5.0
MANY_DEAD_LETTERS = 100_000


def collect_figures(snapshot: Snapshot) -> dict:
    """Everything by name, as far as it can be told; None where its server is away, or the schema not there."""
    questions = {
        "stored": _stored,
        "devices": _devices,
        "deadLetters": _count_dead_letters,
        "partitions": _partitions,
        "postgres": _postgres,
    }
    answers = _ask(snapshot, questions)
    stored = answers.pop("stored")
    return {
        "readingsStoredPerSecond": None if stored is None else _per_second(sum(n for n, _ in stored.values())),
        "shards": _shards(snapshot, stored),
        "workers": _workers(snapshot),
        **answers,
        "redis": _redis(snapshot),
    }


def _ask(snapshot: Snapshot, questions: dict[str, Callable]) -> dict:
    answers = dict.fromkeys(questions)
    with suppress(psycopg.OperationalError):
        if snapshot.postgres:
            with connect(snapshot.settings) as connection, bounded(connection, FIGURES_SECONDS):
                connection.execute(f"set statement_timeout = '{FIGURES_SECONDS:g}s'")
                for name, question in questions.items():
                    with suppress(psycopg.errors.UndefinedTable):
                        answers[name] = question(connection, snapshot)
    return answers


def _per_second(count: int) -> float:
    return round(count / RATE_SECONDS, 1)


def _shards(snapshot: Snapshot, stored: dict | None) -> list[dict]:
    shards = set(snapshot.redis.shards if snapshot.redis else ()) | set(snapshot.positions or ())
    return [_shard(snapshot, shard, stored) for shard in sorted(shards)]


def _shard(snapshot: Snapshot, shard: int, stored: dict | None) -> dict:
    waiting = snapshot.redis and snapshot.redis.shards.get(shard)
    position = (snapshot.positions or {}).get(shard, {})
    readings, entries = (stored or {}).get(shard, (0, 0))
    appended = None
    if waiting and stored is not None:
        # What is not in a batch of this time is still in the backlog, which may reach back further.
        appended = (waiting.backlog + entries) / max(RATE_SECONDS, waiting.lag_seconds)
    return {
        "shard": shard,
        "backlog": waiting.backlog if waiting else None,
        "maxEntries": snapshot.settings.shard_max_entries,
        "lagSeconds": round(waiting.lag_seconds, 1) if waiting else None,
        "entriesPerSecond": None if appended is None else round(appended, 1),
        "readingsStoredPerSecond": None if stored is None else _per_second(readings),
        "lastMove": position.get("moved_at"),
        "failure": position.get("failure"),
    }


def _stored(connection: psycopg.Connection, snapshot: Snapshot) -> dict[int, tuple[int, int]]:
    """Of each shard: readings stored within RATE_SECONDS, and entries stored that came within it.

    By the key of ingest_batches, from its end.
    """
    since = snapshot.postgres.now - timedelta(seconds=RATE_SECONDS)
    return {
        shard: (readings, entries)
        for shard, readings, entries in connection.execute(
            """select shard,
                      coalesce(sum(readings) filter (where stored_at > %(since)s), 0)::int8,
                      coalesce(sum(cardinality(entries)) filter (where first_entry >= %(first)s), 0)::int8
               from unnest(%(shards)s::int[]) as asked (number)
               cross join lateral (select * from ingest_batches where shard = number
                                   order by last_entry desc limit %(batches)s) as newest
               group by shard""",
            {
                "since": since,
                "first": int(since.timestamp() * 1000) << 20,
                "shards": [*(snapshot.positions or ()), DIRECT_SHARD],
                "batches": _RATE_BATCHES,
            },
        ).fetchall()
    }


def _workers(snapshot: Snapshot) -> list[dict] | None:
    if not snapshot.redis:
        return None
    return [
        {"name": who.removeprefix(WORKER), "heardSecondsAgo": round(age)}
        for who, age in snapshot.redis.heartbeat_ages.items()
        if who.startswith(WORKER)
    ]


def _devices(connection: psycopg.Connection, snapshot: Snapshot) -> dict[str, dict[str, int]]:
    since = datetime.now(UTC) - timedelta(seconds=snapshot.settings.offline_after_seconds)
    found = {}
    for kind in KINDS.values():
        online, known = connection.execute(
            f"select count(*) filter (where recorded_at >= %s), count(*) from {kind.live}", [since]
        ).fetchone()
        found[kind.name] = {"online": online, "offline": known - online}
    return found


def _count_dead_letters(connection: psycopg.Connection, snapshot: Snapshot) -> int:
    """Those that were not replayed; not counted beyond MANY_DEAD_LETTERS."""
    return connection.execute(
        "select count(*) from (select from dead_letters where replayed_at is null limit %s) as counted",
        [MANY_DEAD_LETTERS],
    ).fetchone()[0]


def _partitions(connection: psycopg.Connection, snapshot: Snapshot) -> dict[str, int | None]:
    found = list_partitions(connection)
    today = datetime.now(UTC).date()
    return {
        "daysAhead": snapshot.postgres.days_ahead,
        "count": len(found),
        "bytes": sum(partition.bytes for partition in found),
        "todayBytes": sum(partition.bytes for partition in found if partition.day == today),
    }


def _postgres(connection: psycopg.Connection, snapshot: Snapshot) -> dict[str, int]:
    size = connection.execute("select pg_database_size(current_database())").fetchone()[0]
    return {"version": snapshot.postgres.version // 10_000, "bytes": size}


def _redis(snapshot: Snapshot) -> dict[str, int | str] | None:
    if not snapshot.redis:
        return None
    info = snapshot.redis.info
    return {
        "version": info.get("redis_version"),
        "usedBytes": info["used_memory"],
        "maxBytes": info.get("maxmemory", 0),
    }
