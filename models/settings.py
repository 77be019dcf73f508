"""The settings of every process, read once from the environment, checked and frozen.

A process with a missing or wrong setting does not start. docs/settings.md is made from these declarations: `make docs`.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote, urlsplit

from models.environment import SettingsError, choice, number, read_settings, text, url

MAX_SHARDS = 64
DIRECT_SHARD = MAX_SHARDS  # of receipts for readings that were stored without the stream
MIN_SECRET_LENGTH = 16

_DAY_SECONDS = 86_400
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?\Z")
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?\Z")


def _are_origins(value: str) -> bool:
    return all(_ORIGIN.match(origin) for origin in value.split(","))


def _are_hosts(value: str) -> bool:
    return all(_HOST.match(host) for host in value.split(","))


def _are_folders(value: str) -> bool:
    return all(folder.startswith("/") for folder in value.split(","))


def _is_webhook(value: str) -> bool:
    try:
        url = urlsplit(value)
        is_good = url.scheme in ("http", "https") and bool(url.hostname) and "@" not in url.netloc and url.port != 0
    except ValueError:
        return False
    return is_good and value.isascii() and not any(character.isspace() for character in value)


# fmt: off
@dataclass(frozen=True)
class Settings:
    database_url: str = url(None, "postgresql", "postgres", section="Servers", help=
        "Postgres, which keeps history, live rows and mappings")
    database_password: str = text("", "a text", has_secret=True, help=
        "completes `DATABASE_URL`, which then has none; no character needs an escape")
    redis_url: str = url(None, "redis", "rediss", help=
        "Redis with the telemetry stream. It must keep an append-only file (`appendfsync always`) and never evict "
        "(`noeviction`): accepted readings are only as safe as that")
    redis_password: str = text("", "a text", has_secret=True, help=
        "completes `REDIS_URL`, and with it the default of `CELERY_BROKER_URL`")
    celery_broker_url: str = url("", "redis", "rediss", shown_default="as `REDIS_URL`", help=
        "the broker of the workers' tasks; it may lose them without harm")
    data_folders: str = text("", "`/folder,/folder`", is_valid=_are_folders, expected=
        "a list of absolute folders with commas between", help=
        "data folders of Postgres and Redis if they are on this machine; readiness and doctor check the free space "
        "there. `make up` sets it")

    stream_shards: int = number(2, 1, MAX_SHARDS, section="Admission", help=
        "parts of the stream; one worker process at a time drains each")
    stream_max_entries: int = number(1_000_000, 1, unit="entries", help=
        "bound of the backlog, divided evenly among the shards. Beyond it requests get 503 and nothing is dropped. "
        "An entry holds the readings of one request")
    max_batch_readings: int = number(10_000, 1, unit="readings", help=
        "most that one request may hold, else 413")
    max_body_bytes: int = number(8 * 1024 * 1024, 1024, unit="bytes", help=
        "largest body, after decompression, else 413")
    body_concurrency: int = number(48, 1, unit="bodies", help=
        "that a web process receives at a time, else 503: below its threads (`--blocking-threads`), so that senders of "
        "slow bodies leave some to other requests")
    body_concurrency_per_key: int = number(24, 1, unit="bodies", help=
        "of one key, or of one address with `AUTH=off`, that a web process receives at a time, else 429")
    max_clock_skew_seconds: int = number(600, 0, _DAY_SECONDS, unit="seconds", help=
        "how far a reading's timestamp may be ahead of the server's clock")
    idempotency_ttl_seconds: int = number(_DAY_SECONDS, 60, unit="seconds", help=
        "how long an `Idempotency-Key` is remembered; meanwhile each takes about 0.35 KB of Redis")
    idempotency_max_keys: int = number(1_000_000, 1, unit="keys", help=
        "new `Idempotency-Key`s that an API key may use at once, and again within `IDEMPOTENCY_TTL_SECONDS`; beyond it "
        "429. With `AUTH=off`: all senders together")
    ingest_fallback: str = choice("off", "direct", help=
        "`direct`: while Redis is unavailable, requests without an `Idempotency-Key` are written to Postgres before "
        "they are answered; `off`: they get 503")

    auth: str = choice("required", "off", section="Keys", help=
        "whether a request needs an [API key](keys.md). `off` is for a service that only its owner can reach, and "
        "needs `ALLOW_INSECURE=1`")
    allow_insecure: int = choice(0, 1, help=
        "`1` confirms `AUTH=off`; without it the process does not start")
    key_max_devices: int = number(5_000, 0, unit="devices", help=
        "devices that a key with a prefix may post for, unless the key has a bound of its own; `0`: any number")
    unbound_key_max_devices: int = number(100_000, 0, unit="devices", help=
        "the same of a key for all devices")
    max_batch_bursts: int = number(10, 1, unit="bursts", help=
        "most readings of one request by a key with a limit, as a multiple of its burst, else 413: a batch can't lock "
        "its key out for hours")
    read_requests_per_second: float = number(0.0, 0, unit="requests a second", help=
        "limit on the read side of each key that has no limit of its own; `0`: no limit")

    drain_linger_ms: int = number(50, 0, 5_000, unit="milliseconds", section="Drain", help=
        "age of the oldest entry at which a batch is taken: a small value is fresher, a large one cheaper")
    drain_batch_readings: int = number(100_000, 1, 1_000_000, unit="readings", help=
        "stored in one transaction, about")
    drain_seconds: int = number(10, 1, 30, unit="seconds", help=
        "longest time for which a task drains its shard before another shard gets the worker")
    receipt_retention_days: int = number(7, 1, unit="days", help=
        "how long a receipt can be looked up after its readings were stored")

    partition_days_ahead: int = number(7, 2, 90, unit="days", section="History", help=
        "how far ahead the daily partitions are created")
    retention_days: int = number(0, 0, unit="days", help=
        "age at which readings are dropped, a whole day at a time; older ones are not accepted. `0` keeps all")

    heartbeat_seconds: int = number(60, 1, _DAY_SECONDS, unit="seconds", section="Devices and analytics", help=
        "interval in which one reading of each device is expected; `completeness` is measured by it")
    offline_after_seconds: int = number(180, 1, unit="seconds", help=
        "a device is `online` while its newest reading is not older")
    session_max_days: int = number(31, 1, 366, unit="days", help=
        "longest charging session: an older start is refused, and an open session ends at this age")
    alert_threshold: float = number(85.0, 0, 100, unit="percent", help=
        "an efficiency below it is `degraded`")

    alert_hysteresis: float = number(2.0, 0, 100, unit="percentage points", section="Alerts", help=
        "an [efficiency alert](alerts.md) ends this far above `ALERT_THRESHOLD`")
    alert_min_completeness: float = number(0.5, 0, 1, help=
        "share of a day's expected readings below which a vehicle's efficiency is not judged")
    alert_min_kwh: float = number(1.0, 0, unit="kWh", help=
        "AC energy of a day below which a vehicle's efficiency is not judged")
    alert_battery_temp: float = number(60.0, -60, 150, unit="°C", help=
        "temperature above which a battery raises an alert")
    alert_silent_seconds: int = number(3_600, 60, _DAY_SECONDS, unit="seconds", help=
        "a device without readings for this long, or for two of its heartbeats if that is longer, raises an alert")
    alert_max_opened: int = number(100, 1, unit="alerts", help=
        "alerts of one kind that one evaluation opens; if more would open, one alert is for all of their devices")
    alert_webhook_url: str = text(
        "", "`http://…`, `https://…`", expected="a URL that starts with http:// or https://, without a user name",
        is_valid=_is_webhook, has_secret=True, help=
        "receives an event when an alert opens or is resolved; not set: no events")
    alert_webhook_secret: str = text(
        "", f"≥ {MIN_SECRET_LENGTH} characters", expected=f"a text of at least {MIN_SECRET_LENGTH} characters",
        is_valid=lambda value: len(value) >= MIN_SECRET_LENGTH, has_secret=True, help=
        "signs the events; required with `ALERT_WEBHOOK_URL`. Web, workers and beat need both")

    export_concurrency: int = number(2, 1, 64, section="Exports", help=
        "exports that a web process runs at a time, each with a connection of its own; beyond it 503")
    exports_per_key: int = number(1, 1, 64, help=
        "exports of one key, or of one address with `AUTH=off`, that a web process runs at a time; beyond it 429")
    export_stall_seconds: int = number(60, 1, 3_600, unit="seconds", help=
        "a client that reads nothing of its export for this long has it ended")
    export_seconds: int = number(3_600, 60, _DAY_SECONDS, unit="seconds", help=
        "longest duration of an export, including the time in which a slow client reads it")

    db_pool_size: int = number(8, 1, 100, section="Connections", help=
        "connections to Postgres of each web process; a worker process has 2")
    db_timeout_seconds: float = number(5.0, 0.1, 60, unit="seconds", help=
        "how long a request waits for a statement before it gets 503")
    redis_timeout_seconds: float = number(2.0, 0.1, 10, unit="seconds", help=
        "how long to wait for a connection to Redis, or for an answer")

    worker_metrics_port: int = number(0, 0, 65_535, section="Metrics", help=
        "where a worker serves its metrics and those of its children ([operations.md](operations.md)); `0`: nowhere. "
        "Needs `PROMETHEUS_MULTIPROC_DIR`. `make up` sets `PORT` + 1100, the compose file `9100`")
    worker_metrics_host: str = text("127.0.0.1", "an address", help=
        "address of that port, which needs no key: use one in a private network")

    log_format: str = choice("json", "console", section="Logs", help=
        "`json`: one object a line; `console`: columns for a terminal")
    log_level: str = choice("DEBUG", "INFO", "WARNING", "ERROR", default="INFO", help=
        "least level that is logged; the line of a request is `INFO`")
    log_requests: str = choice("all", "errors", help=
        "which requests are logged: all (15 µs each, [operations.md](operations.md#logs)), or those answered 400 "
        "and above. `make up` sets `errors`")

    cors_origins: str = text(
        "", "`https://a.example,https://b.example`", is_valid=_are_origins, section="Browsers",
        expected="a list of origins such as https://fleet.example.com, with commas between and no blanks", help=
        "pages of these origins may call the API. Exact matches, no `*`; not set: none may")
    allowed_hosts: str = text(
        "", "`telemetry.example,web`", is_valid=_are_hosts,
        expected="a list of host names such as telemetry.example.com, with commas between and no blanks or ports", help=
        "names by which this service may be called with `AUTH=off`, besides `localhost` and IP addresses; others are "
        "refused, because a foreign page can have them ([security.md](security.md#browsers-without-keys))")

    @property
    def allowed_origins(self) -> frozenset[str]:
        return frozenset(filter(None, self.cors_origins.split(",")))

    @property
    def checked_folders(self) -> list[str]:
        return [folder for folder in self.data_folders.split(",") if folder]

    @property
    def shard_max_entries(self) -> int:
        """The bound of one shard's backlog, in entries: its even part of `stream_max_entries`, at least 1."""
        return max(1, self.stream_max_entries // self.stream_shards)
# fmt: on


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process's environment. Raises SettingsError, which names every wrong variable."""
    try:
        settings = read_settings(Settings, environment)
    except SettingsError as error:
        if "DATABASE_URL: is not set" in str(error) and "REDIS_URL: is not set" in str(error):
            raise SettingsError(
                f"{error}\nIf `make up` runs here, load its settings: set -a; . .energy/env; set +a"
            ) from None
        raise
    if settings.auth == "off" and not settings.allow_insecure:
        raise SettingsError(
            "AUTH: `off` lets anybody post and read. Leave it at `required` and create keys (energy keys create); "
            "or, if only you can reach this service, confirm with ALLOW_INSECURE=1."
        )
    if settings.alert_webhook_url and not settings.alert_webhook_secret:
        raise SettingsError(
            "ALERT_WEBHOOK_SECRET: is required with ALERT_WEBHOOK_URL, so that the receiver can verify the sender; "
            "create one with: openssl rand -hex 32"
        )
    redis_url = _with_password(settings.redis_url, settings.redis_password, "REDIS")
    return replace(
        settings,
        database_url=_with_password(settings.database_url, settings.database_password, "DATABASE"),
        redis_url=redis_url,
        celery_broker_url=settings.celery_broker_url or redis_url,
    )


def _with_password(url: str, password: str, name: str) -> str:
    if not password:
        return url
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    if ":" in user:
        raise SettingsError(f"{name}_PASSWORD: {name}_URL has a password too; remove one of them.")
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}").geturl()
