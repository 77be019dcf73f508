"""The settings of every process: read once from the environment, checked, frozen.

`load_settings()` raises `SettingsError`, which names each wrong variable, so that a process with a bad
setting does not start. Every bound has its unit in its name or in the comment beside it.
docs/settings.md lists them all; a test holds the two lists to each other.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from environs import Env, EnvError, EnvValidationError, validate

MAX_SHARDS = 64
DIRECT_SHARD = MAX_SHARDS  # what is stored without the stream has receipts of a shard of its own
MIN_SECRET_LENGTH = 16
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?\Z")


class SettingsError(Exception):
    """One or more environment variables are missing or wrong; the message names them, a line each."""


@dataclass(frozen=True)
class Settings:
    # Servers
    database_url: str
    redis_url: str  # the telemetry stream; may be a cluster in future, the broker may not
    celery_broker_url: str

    # Admission
    stream_shards: int
    stream_max_entries: int  # entries of all shards together; each shard takes its even part
    max_batch_readings: int  # readings a request
    max_body_bytes: int  # bytes a request, after decompression
    max_clock_skew_seconds: int  # how far ahead of the server a reading's timestamp may be
    idempotency_ttl_seconds: int
    ingest_fallback: str  # off; or direct: write into Postgres while Redis is away

    # Keys
    auth: str  # required: every request needs an API key; or off
    allow_insecure: int  # 1: `off` is meant
    read_requests_per_second: float  # of a key that has no limit of its own; 0: none

    # Drain
    drain_linger_ms: int  # the age the oldest entry reaches before a batch is taken
    drain_batch_readings: int  # readings a transaction, about
    drain_seconds: int  # how long one drain task may hold its shard
    receipt_retention_days: int

    # History
    partition_days_ahead: int
    retention_days: int  # 0 keeps every reading

    # Devices and analytics
    heartbeat_seconds: int  # one reading is expected in each
    offline_after_seconds: int
    alert_threshold: float  # percent; an efficiency below it is degraded

    # Alerts
    alert_hysteresis: float  # percent points above alert_threshold at which an efficiency alert is over
    alert_min_completeness: float  # 0–1; below it nothing is said of a vehicle's efficiency
    alert_min_kwh: float  # AC energy of the day below which nothing is said of a vehicle's efficiency
    alert_battery_temp: float  # °C
    alert_silent_seconds: int
    alert_webhook_url: str  # empty: none
    alert_webhook_secret: str

    # Exports
    export_concurrency: int  # at a time, of each web process
    export_seconds: int  # how long one may last

    # Connections
    db_pool_size: int  # connections a web process
    db_timeout_seconds: float  # wait for a connection or a statement of the web
    redis_timeout_seconds: float

    # Figures
    worker_metrics_port: int  # of a worker's parent; 0: none
    worker_metrics_host: str

    # Logs
    log_format: str
    log_level: str
    log_requests: str  # all; or errors: only those answered with 400 and above

    # Browsers
    cors_origins: str  # whose pages may read the answers; a comma between

    @property
    def allowed_origins(self) -> frozenset[str]:
        return frozenset(filter(None, self.cors_origins.split(",")))

    @property
    def shard_max_entries(self) -> int:
        """The bound of one shard's backlog, in entries: its even part of `stream_max_entries`, at least 1."""
        return max(1, self.stream_max_entries // self.stream_shards)


def load_settings() -> Settings:
    """The settings of this process's environment. Raises SettingsError naming every variable that is wrong."""
    env = Env(eager=False)
    at_least = lambda n: validate.Range(min=n)  # noqa: E731 - a name for a bound, read in the list below
    redis_url = env.str("REDIS_URL", required=True, validate=_url("redis", "rediss"))
    values = {
        "database_url": env.str("DATABASE_URL", required=True, validate=_url("postgresql", "postgres")),
        "redis_url": redis_url,
        "celery_broker_url": env.str("CELERY_BROKER_URL", redis_url, validate=_url("redis", "rediss")),
        "stream_shards": env.int("STREAM_SHARDS", 2, validate=validate.Range(1, MAX_SHARDS)),
        "stream_max_entries": env.int("STREAM_MAX_ENTRIES", 1_000_000, validate=at_least(1)),
        "max_batch_readings": env.int("MAX_BATCH_READINGS", 10_000, validate=at_least(1)),
        "max_body_bytes": env.int("MAX_BODY_BYTES", 8 * 1024 * 1024, validate=at_least(1024)),
        "max_clock_skew_seconds": env.int("MAX_CLOCK_SKEW_SECONDS", 600, validate=validate.Range(0, 86_400)),
        "idempotency_ttl_seconds": env.int("IDEMPOTENCY_TTL_SECONDS", 86_400, validate=at_least(60)),
        "ingest_fallback": env.str("INGEST_FALLBACK", "off", validate=validate.OneOf(["off", "direct"])),
        "auth": env.str("AUTH", "required", validate=validate.OneOf(["required", "off"])),
        "allow_insecure": env.int("ALLOW_INSECURE", 0, validate=validate.OneOf([0, 1])),
        "read_requests_per_second": env.float("READ_REQUESTS_PER_SECOND", 0.0, validate=at_least(0)),
        "drain_linger_ms": env.int("DRAIN_LINGER_MS", 50, validate=validate.Range(0, 5_000)),
        "drain_batch_readings": env.int("DRAIN_BATCH_READINGS", 100_000, validate=validate.Range(1, 1_000_000)),
        "drain_seconds": env.int("DRAIN_SECONDS", 10, validate=validate.Range(1, 30)),
        "receipt_retention_days": env.int("RECEIPT_RETENTION_DAYS", 7, validate=at_least(1)),
        "partition_days_ahead": env.int("PARTITION_DAYS_AHEAD", 7, validate=validate.Range(2, 90)),
        "retention_days": env.int("RETENTION_DAYS", 0, validate=at_least(0)),
        "heartbeat_seconds": env.int("HEARTBEAT_SECONDS", 60, validate=validate.Range(1, 86_400)),
        "offline_after_seconds": env.int("OFFLINE_AFTER_SECONDS", 180, validate=at_least(1)),
        "alert_threshold": env.float("ALERT_THRESHOLD", 85.0, validate=validate.Range(0, 100)),
        "alert_hysteresis": env.float("ALERT_HYSTERESIS", 2.0, validate=validate.Range(0, 100)),
        "alert_min_completeness": env.float("ALERT_MIN_COMPLETENESS", 0.5, validate=validate.Range(0, 1)),
        "alert_min_kwh": env.float("ALERT_MIN_KWH", 1.0, validate=at_least(0)),
        "alert_battery_temp": env.float("ALERT_BATTERY_TEMP", 60.0, validate=validate.Range(-60, 150)),
        "alert_silent_seconds": env.int("ALERT_SILENT_SECONDS", 3_600, validate=validate.Range(60, 86_400)),
        "alert_webhook_url": env.str("ALERT_WEBHOOK_URL", "", validate=_webhook),
        "alert_webhook_secret": env.str("ALERT_WEBHOOK_SECRET", "", validate=_webhook_secret),
        "export_concurrency": env.int("EXPORT_CONCURRENCY", 2, validate=validate.Range(1, 64)),
        "export_seconds": env.int("EXPORT_SECONDS", 3_600, validate=validate.Range(60, 86_400)),
        "db_pool_size": env.int("DB_POOL_SIZE", 8, validate=validate.Range(1, 100)),
        "db_timeout_seconds": env.float("DB_TIMEOUT_SECONDS", 5.0, validate=validate.Range(0.1, 60)),
        "redis_timeout_seconds": env.float("REDIS_TIMEOUT_SECONDS", 2.0, validate=validate.Range(0.1, 10)),
        "worker_metrics_port": env.int("WORKER_METRICS_PORT", 0, validate=validate.Range(0, 65_535)),
        "worker_metrics_host": env.str("WORKER_METRICS_HOST", "127.0.0.1"),
        "log_format": env.str("LOG_FORMAT", "json", validate=validate.OneOf(["json", "console"])),
        "log_level": env.str("LOG_LEVEL", "INFO", validate=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR"])),
        "log_requests": env.str("LOG_REQUESTS", "all", validate=validate.OneOf(["all", "errors"])),
        "cors_origins": env.str("CORS_ORIGINS", "", validate=_origins),
    }
    try:
        env.seal()
    except EnvValidationError as error:
        raise SettingsError(_explain(error)) from None
    except EnvError as error:
        raise SettingsError(str(error)) from None
    settings = Settings(**values)
    if settings.auth == "off" and not settings.allow_insecure:
        raise SettingsError(
            "AUTH: off lets anybody post and read. Leave it at `required` and make keys (energy keys create); "
            "or, where nobody else reaches this service, say so with ALLOW_INSECURE=1"
        )
    if settings.alert_webhook_url and not settings.alert_webhook_secret:
        raise SettingsError(
            "ALERT_WEBHOOK_SECRET: is required with ALERT_WEBHOOK_URL, so that the receiver can tell who calls; "
            "make one with: openssl rand -hex 32"
        )
    return settings


def _url(*schemes: str):
    def check(value: str) -> None:
        if value.split("://")[0] not in schemes or "://" not in value:
            raise validate.ValidationError(f"must be a URL that starts with {' or '.join(s + '://' for s in schemes)}")

    return check


def _origins(value: str) -> None:
    if value and not all(_ORIGIN.match(origin) for origin in value.split(",")):
        raise validate.ValidationError(
            "must be origins as browsers send them, such as https://fleet.example.com or http://localhost:3000, "
            "a comma between and no blanks; * is not one"
        )


def _webhook(value: str) -> None:
    if not value:
        return
    try:
        url = urlsplit(value)
        is_good = url.scheme in ("http", "https") and bool(url.hostname) and "@" not in url.netloc and url.port != 0
    except ValueError:
        is_good = False
    if not is_good or not value.isascii() or any(character.isspace() for character in value):
        raise validate.ValidationError("must be a URL that starts with http:// or https://, without a user name")


def _webhook_secret(value: str) -> None:
    if value and len(value) < MIN_SECRET_LENGTH:
        raise validate.ValidationError(f"must have at least {MIN_SECRET_LENGTH} characters")


def _explain(error: EnvValidationError) -> str:
    lines = [f"{name}: {' '.join(map(str, why))}" for name, why in error.error_messages.items()]
    return "\n".join(lines)
