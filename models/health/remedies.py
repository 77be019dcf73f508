"""For each check: why it matters, and the remedy. Readiness names the remedy, doctor both."""

from dataclasses import dataclass

from models.causes import NO_CONNECTIONS
from models.health.checks import Check
from models.health.redis_snapshot import QUEUES


@dataclass(frozen=True)
class Remedy:
    why: str
    remedy: str


def _alter(setting: str) -> str:
    return (
        f'in psql: "alter system set {setting} = on", "select pg_reload_conf()"; '
        f"and remove {setting}=off from the server's start command"
    )


def _config(setting: str, value: str) -> str:
    return f"redis-cli config set {setting} {value}; then redis-cli config rewrite, or the same line in redis.conf"


_COMMIT = "An entry is removed from Redis once Postgres has committed it"

REMEDIES = {
    "disk": Remedy(
        "Without room Postgres stores nothing and Redis accepts nothing; both stop before they lose anything.",
        "make room where the servers keep their data (df -h), or enlarge the disk; all goes on by itself. "
        "RETENTION_DAYS drops old days",
    ),
    "postgres": Remedy(
        "Postgres holds history, live rows and positions; without it the backlog grows until it is full.",
        "start it, or set DATABASE_URL to the primary (user, password, database and network must fit)",
    ),
    "connections": Remedy(
        "When all are in use, a restarted web or worker process can't connect.", NO_CONNECTIONS.remedy
    ),
    "transactions": Remedy(
        "An open transaction holds its locks, and keeps vacuum from removing deleted rows: tables grow.",
        "end it where it was begun; set idle_in_transaction_session_timeout for that role",
    ),
    "slots": Remedy(
        "Postgres keeps its log for the reader of a replication slot, until the disk is full.",
        "start the reader, or drop the slot: select pg_drop_replication_slot('…')",
    ),
    "redis": Remedy(
        "Readings are accepted into Redis; without it requests get 503.",
        "start it, or set REDIS_URL to the primary; after a crash wait until the append-only file is loaded",
    ),
    "durability": Remedy(
        "Acknowledged readings must be on disk.",
        "`energy doctor` names each setting and its remedy",
    ),
    "postgres version": Remedy("Older versions of Postgres are not tested.", "upgrade with pg_upgrade"),
    "redis version": Remedy("An older Redis lacks commands that the engine uses.", "upgrade Redis"),
    "time zone": Remedy(
        "Days and times are in UTC; another zone shifts what people read in psql, and where a day begins.",
        'in psql: "alter system set timezone = \'UTC\'", then "select pg_reload_conf()"',
    ),
    "fsync": Remedy(
        f"{_COMMIT}: without fsync a crash of the machine loses or corrupts committed readings.",
        _alter("fsync") + "; data written before may be damaged: check or restore it",
    ),
    "full_page_writes": Remedy(
        "Without it a page half written in a crash can't be repaired, and history is corrupt.",
        _alter("full_page_writes"),
    ),
    "synchronous_commit": Remedy(
        f"{_COMMIT}: with `off` a crash loses the latest commits, and Redis no longer has their readings.",
        _alter("synchronous_commit") + '; "alter role … reset" or "alter database … reset" if it is set there',
    ),
    "appendonly": Remedy(
        "Without the append-only file the backlog is lost when Redis stops.",
        _config("appendonly", "yes"),
    ),
    "appendfsync": Remedy(
        "An accepted reading must be on disk before the device is answered; only `always` does that.",
        _config("appendfsync", "always"),
    ),
    "append-only file": Remedy(
        "Readings are not accepted while the file can't be written; a file that is never rewritten fills the disk.",
        "free disk space and memory for Redis (sysctl vm.overcommit_memory=1); then redis-cli bgrewriteaof",
    ),
    "maxmemory-policy": Remedy(
        "Any other policy lets Redis evict accepted readings and idempotency keys.",
        _config("maxmemory-policy", "noeviction"),
    ),
    "maxmemory": Remedy(
        "At its bound Redis refuses writes and loses nothing; without a bound the kernel kills it if memory runs out.",
        _config("maxmemory", "<more, e.g. 4gb>") + "; or start more workers to drain the backlog",
    ),
    "clocks": Remedy(
        "Timestamps are compared with the web's clock, which also sets days and `online`; Redis's orders submissions.",
        "run NTP on all machines: timedatectl set-ntp true; chronyc tracking",
    ),
    "shards": Remedy(
        "Web and workers must agree on STREAM_SHARDS; the sweep drains the shards beyond it.",
        "none if STREAM_SHARDS was lowered and the backlog shrinks; else give web and workers the same value",
    ),
    "auth": Remedy(
        "Without keys anybody who reaches the service posts for any meter and reads every vehicle.",
        "set AUTH=required, unset ALLOW_INSECURE; energy keys create --help",
    ),
    "stored rows": Remedy(
        "A row that can't be read is refused alone: requests with that key get 401, a site is without its tariff.",
        "`energy keys revoke` it and create another; set the tariff again",
    ),
    "debug": Remedy(
        "Flask's debugger lets anybody who causes an error run code, and shows the source.",
        "unset FLASK_DEBUG; start without --debug",
    ),
    "migrations": Remedy("The code expects the tables of its own revision.", "`alembic upgrade head`"),
    "partitions": Remedy(
        "A reading of a day without a partition can't be stored: at midnight its shard stops.",
        "`energy partitions ensure`; then check beat and the workers, which do this every 10 minutes",
    ),
    "backlog": Remedy(
        "At its bound requests get 503, and devices have to keep their readings.",
        "repair the `drain`; else more workers (docker compose up --scale worker=N), or a larger STREAM_MAX_ENTRIES "
        "or maxmemory",
    ),
    "drain": Remedy(
        "Accepted readings wait: live rows and analytics are old, and the backlog grows until it is full.",
        "remove the cause named beside the shard; start or restart the workers; see drain_failed in their log, and "
        "locks in Postgres",
    ),
    "stream": Remedy(
        "A Redis that was flushed or restored no longer has all entries that it accepted.",
        "none: the next drain repairs it. docs/guarantees.md lists what may be lost",
    ),
    "losses": Remedy(
        "Accepted readings of this span may be lost; devices that keep their readings can send it again.",
        "have the span sent again, then `energy losses acknowledge ID --note …`; docs/guarantees.md",
    ),
    "broker": Remedy(
        "Another program writes into the broker's lists. Workers drop what they can't read.",
        f"redis-cli del {' '.join(QUEUES)} (of CELERY_BROKER_URL): they hold no reading, and beat fills them again; "
        "then find the program",
    ),
    "beat": Remedy(
        "Beat starts the sweep and the creation of partitions: without it a shard may wait, and days run out.",
        "start it: `celery -A workers beat` (docker compose up --detach beat)",
    ),
    "workers": Remedy(
        "Workers store accepted readings; without them the backlog grows until it is full.",
        "start or restart them: `celery -A workers worker` (docker compose restart worker)",
    ),
    "keys": Remedy(
        "A web process that does not read the keys accepts revoked ones and refuses new ones.",
        "see thread_round_failed and keys_stale in the web's log; restart it (docker compose restart web)",
    ),
    "threads": Remedy(
        "A process goes on without a thread that has stopped: requests get 503, or figures are missing.",
        "see thread_round_failed and thread_ended in the log of that process; restart it",
    ),
    "rollups": Remedy(
        "Fleet figures and most alerts end at the watermark; everything else is up to date.",
        "see rollups_failed in the workers' log, and whether beat runs; `energy rollups status`",
    ),
}


def get_remedy(name: str, check: Check) -> str:
    """The remedy of the cause that the check found, else the usual one."""
    return check.remedy or REMEDIES[name].remedy
