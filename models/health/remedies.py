"""For each of doctor's checks: why it matters, and how to mend it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Remedy:
    why: str
    mend: str


def _alter(setting: str) -> str:
    return f'in psql: "alter system set {setting} = on", "select pg_reload_conf()"; no flag at the start may say off'


def _config(setting: str, value: str) -> str:
    return f"redis-cli config set {setting} {value}; and the same in redis.conf (redis-cli config rewrite)"


_COMMIT = "An entry leaves Redis once Postgres has committed it"

REMEDIES = {
    "postgres": Remedy(
        "History, live rows and positions are in Postgres; without it the backlog grows until it is full.",
        "start it, or set DATABASE_URL to the primary (user, password, database and network must fit)",
    ),
    "redis": Remedy(
        "A reading is accepted into Redis; without it requests get 503.",
        "start it, or set REDIS_URL to the primary; after a crash wait until the append-only file is loaded",
    ),
    "postgres version": Remedy("Nothing is tested with an older Postgres.", "upgrade with pg_upgrade"),
    "redis version": Remedy("Commands that the engine uses are missing in an older Redis.", "upgrade Redis"),
    "time zone": Remedy(
        "Days and stamps are in UTC; another zone in a session shifts what people read, and where a day begins.",
        'in psql: "alter system set timezone = \'UTC\'", then "select pg_reload_conf()"',
    ),
    "fsync": Remedy(
        f"{_COMMIT}: without fsync a crash of the machine loses or corrupts committed readings.",
        _alter("fsync") + "; what was written before may be damaged: check it, or restore",
    ),
    "full_page_writes": Remedy(
        "A page half written in a crash can't be repaired without it: history would be corrupt.",
        _alter("full_page_writes"),
    ),
    "synchronous_commit": Remedy(
        f"{_COMMIT}: with `off` the last moments of commits are lost in a crash, and Redis no longer has them.",
        _alter("synchronous_commit") + '; "alter role … reset" or "alter database … reset" where set there',
    ),
    "appendonly": Remedy(
        "Without the append-only file the whole backlog goes when Redis stops.",
        _config("appendonly", "yes"),
    ),
    "appendfsync": Remedy(
        "A device's answer says that its readings are on disk; only `always` makes it so before the answer.",
        _config("appendfsync", "always"),
    ),
    "append-only file": Remedy(
        "What can't be written to the file is not accepted; a file that is never rewritten fills the disk.",
        "give the disk of Redis room, and the machine memory (sysctl vm.overcommit_memory=1); redis-cli bgrewriteaof",
    ),
    "maxmemory-policy": Remedy(
        "An evicting Redis drops accepted readings, or idempotency keys, without a word.",
        _config("maxmemory-policy", "noeviction"),
    ),
    "maxmemory": Remedy(
        "At its bound Redis refuses and nothing is lost; without one the kernel kills it when memory ends.",
        _config("maxmemory", "<more, e.g. 4gb>") + "; or have more workers drain the backlog",
    ),
    "clocks": Remedy(
        "Stamps are held against the web's clock, days and `online` follow it; Redis's clock orders submissions.",
        "run NTP on all three machines: timedatectl set-ntp true; chronyc tracking",
    ),
    "shards": Remedy(
        "Web and workers must agree on STREAM_SHARDS; shards beyond it are drained by the sweep, and then idle.",
        "nothing, if it was lowered and the backlog shrinks; else give web and workers the same STREAM_SHARDS",
    ),
    "keys": Remedy(
        "Devices are strangers on the internet: without keys anybody posts for any meter and reads every vehicle.",
        "set AUTH=required, unset ALLOW_INSECURE; energy keys create --help",
    ),
    "debug": Remedy(
        "Flask's debugger runs code for whoever meets an error, and shows the inside.", "unset FLASK_DEBUG; no --debug"
    ),
    "migrations": Remedy("The code expects the tables of its own revision.", "alembic upgrade head"),
    "partitions": Remedy(
        "A reading of a day without a partition can't be stored: at midnight its shard stands still.",
        "energy partitions ensure; then see why beat and the workers don't: they do it every 10 minutes",
    ),
    "backlog": Remedy(
        "At its bound requests get 503, and devices have to keep their readings.",
        "see `drain`; more workers (docker compose up --scale worker=N); a larger STREAM_MAX_ENTRIES or maxmemory",
    ),
    "drain": Remedy(
        "Accepted readings wait: live rows and analytics are old, and the backlog grows until it is full.",
        "the reason stands beside the shard; start or restart the workers; see their log for drain_failed",
    ),
    "stream": Remedy(
        "A Redis that lost data, or came back from an older file, no longer has what it had accepted.",
        "the next drain mends the positions by itself; docs/guarantees.md says what is lost. Keep Redis's disk",
    ),
    "beat": Remedy(
        "Beat has lost bells rung again and partitions made: without it a shard may sleep, and days run out.",
        "start it: celery -A workers beat (docker compose up --detach beat)",
    ),
    "workers": Remedy(
        "Workers store what was accepted; without them the backlog grows until it is full.",
        "start or restart them: celery -A workers worker (docker compose restart worker)",
    ),
    "rollups": Remedy(
        "The fleet's figures and most alerts end at the watermark; all else is up to date without.",
        "see the workers' log for rollups_failed, and whether beat rings; energy rollups status",
    ),
}
