"""What an error of a server means, and its remedy. Readiness, doctor, 503 answers and logs take it from here."""

import re
from typing import NamedTuple


class Cause(NamedTuple):
    """`summary` is a sentence without addresses, users or data: anybody may read it. `remedy` is for operators."""

    summary: str
    remedy: str
    request: str = "try again later"  # the remedy of a client whose request failed


READ_ONLY = Cause(
    "The database is read-only",
    'in psql: "alter database … reset default_transaction_read_only" (also "alter role …" and "alter system …"); '
    "if it is a standby, set DATABASE_URL to the primary",
)

NO_CONNECTIONS = Cause(
    "Postgres has no connection left (max_connections)",
    'end what holds them ("select application_name, state, count(*) from pg_stat_activity group by 1, 2", as '
    "superuser); lower DB_POOL_SIZE or the number of processes, raise max_connections, or put a pooler between",
)

SCHEMA_LACKS = Cause(
    "The schema lacks what the code needs",
    "`alembic upgrade head`; if it is at head already, restore what is missing from a backup (pg_restore --table)",
)

# Searched in "<class of the error>: <its text>", in this order: Redis's own errors come first.
_CAUSES = {
    "MISCONF|AOF": Cause(
        "Redis can't write its append-only file",
        "make room on the disk of Redis's folder (df -h) and see its log; it takes writes again by itself",
    ),
    "OOM command|^OutOfMemoryError|Redis is (nearly )?out of memory": Cause(
        "Redis is out of memory",
        "redis-cli config set maxmemory <more, e.g. 4gb>; or start more workers to drain the backlog",
    ),
    "max number of clients": Cause(
        "Redis has no connection left (maxclients)",
        "stop a program that holds many; then find them with redis-cli client list, and raise the bound: redis-cli "
        "config set maxclients 10000, with as many open files (ulimit -n)",
    ),
    "NOAUTH|WRONGPASS|NOPERM|NoPermissionError|invalid username-password|AuthenticationError": Cause(
        "Redis refuses this user or password",
        "set user and password in REDIS_URL and CELERY_BROKER_URL as in Redis (acl list, requirepass)",
    ),
    "^ReadOnlyError|read only replica": Cause(
        "Redis is a replica and takes no writes",
        "set REDIS_URL to the primary; or, if this one shall be it: redis-cli replicaof no one",
    ),
    "BusyLoading|loading (the dataset|its append-only file)": Cause(
        "Redis is loading its append-only file", "wait until it is loaded: redis-cli info persistence"
    ),
    r"Error -?\d+ (connecting|while)|Connection (closed|reset) by (server|peer)": Cause(
        "Nothing answers at the address of Redis",
        "start it, or set REDIS_URL to the primary (host, port and network must fit)",
    ),
    "Redis took too long|Timeout (connecting|reading|writing)|^TimeoutError": Cause(
        "Redis does not answer in time",
        "see whether its process is stopped, its machine overloaded, or a command slow (redis-cli slowlog get)",
    ),
    "ReadOnlySqlTransaction|read-only transaction": READ_ONLY,
    "No space left|DiskFull|could not (extend|write)": Cause(
        "The disk of Postgres is full",
        "make room on the disk of its data folder (df -h): remove forgotten replication slots and other files, drop "
        "old partitions, or enlarge the disk; the drain goes on by itself",
    ),
    "too many clients|TooManyConnections|too many connections|remaining connection slots": NO_CONNECTIONS,
    "database system is|CannotConnectNow|AdminShutdown|CrashShutdown|terminating connection": Cause(
        "Postgres is starting or shutting down",
        "wait; if it lasts, see its log: recovery after a crash may take minutes",
    ),
    r"password authentication|pg_hba\.conf|(role|database) \S+ does not exist|InvalidPassword": Cause(
        "Postgres refuses this user or database",
        "set user, password and database in DATABASE_URL as in Postgres (pg_hba.conf, \\du, \\l)",
    ),
    "no partition of relation": Cause(
        "History has no partition for this day",
        "`energy partitions ensure`; then check beat and the workers, which do this every 10 minutes",
    ),
    "Undefined(Table|Column|Function|Object)|(relation|column|function) .* does not exist": SCHEMA_LACKS,
    "InsufficientPrivilege|permission denied": Cause(
        "The engine's role lacks a right",
        "grant it to the user of DATABASE_URL; the tables should belong to that user",
    ),
    "LockNotAvailable|lock timeout|DeadlockDetected": Cause(
        "Another session holds a lock",
        "`energy doctor` names the session while it waits; end it in psql: select pg_terminate_backend(<pid>)",
    ),
    "QueryCanceled|statement timeout": Cause(
        "The query took longer than it may",
        "see load and locks in Postgres; run `analyze` after a large import; DB_TIMEOUT_SECONDS bounds requests",
        "ask for less, such as a shorter window, or try again later",
    ),
    "MostlyRefused": Cause(
        "Postgres refuses nearly every row",
        "suspect the schema or a deploy, not the data: undo what was changed last; the shard tries again every 5 s",
    ),
    "PoolTimeout": Cause(
        "No connection to Postgres was free in time",
        "see the lines of psycopg.pool in the log, and `energy doctor`; if Postgres is well, raise DB_POOL_SIZE",
    ),
    "Connection refused|could not translate host name|Name or service not known|No route to host": Cause(
        "Nothing answers at the address of Postgres",
        "start it, or set DATABASE_URL to the primary (host, port and network must fit)",
    ),
    "timeout expired|does not answer|server closed the connection|could not receive data|SSL .* closed": Cause(
        "Postgres does not answer in time",
        "see whether its process is stopped, its machine overloaded or the network broken; then its log",
    ),
}
_PATTERNS = [(re.compile(pattern), cause) for pattern, cause in _CAUSES.items()]


def describe(error: Exception) -> str:
    """The class and the first line of the message: the other lines may hold a row's values."""
    return f"{type(error).__name__}: {first_line(error)}"


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def find_cause(error: Exception | str) -> Cause | None:
    """The cause of an error, or of one that is stored as `describe` writes it; None if it is not a known one."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    return next((cause for pattern, cause in _PATTERNS if pattern.search(text)), None)


def log_fields(error: Exception) -> dict[str, str]:
    """The fields of a log line about an error of a server."""
    fields = {"error": type(error).__name__, "reason": str(error).strip()}
    if cause := find_cause(error):
        fields |= {"cause": cause.summary, "remedy": cause.remedy}
    return fields
