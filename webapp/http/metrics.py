"""The web's figures for Prometheus: of all its processes, and of the engine as it stands when it is asked."""

import time
from collections.abc import Iterator
from functools import cache

from flask import Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.registry import Collector

from models.health.readiness import check_readiness
from models.health.snapshot import PostgresSnapshot, RedisSnapshot, Snapshot, take_snapshot
from models.observability.exposition import role_registry
from models.observability.metrics import make_series, watch_pool
from models.resources import Resources
from models.version import VERSION
from webapp.ingest.decoding import Decoded

CONTENT_TYPE = CONTENT_TYPE_LATEST

# Why a request is refused, where whoever refuses it says nothing more precise: `error_response(…, reason=…)`.
REASONS = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "media_type",
    422: "validation",
    429: "rate_limited",
    500: "unexpected",
    503: "unavailable",
    504: "outcome_unknown",
}
OTHER = "other"
PRECISE_REASONS = ("backlog_full", "redis_away", "postgres_away", "token_reused", "not_ready", "exports_busy", OTHER)
# A client may send any word for a method; a series for each would be its to make.
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

READINGS_ACCEPTED = Counter("energy_readings_accepted_total", "Readings taken and answered for", ["kind"])
READINGS_REJECTED = Counter("energy_readings_rejected_total", "Readings refused one by one, by reason", ["reason"])
REQUESTS_REFUSED = Counter("energy_requests_refused_total", "Requests refused as a whole, by reason", ["reason"])
REQUEST_SECONDS = Histogram(
    "energy_request_seconds",
    "Time to answer a request, in seconds",
    ["route", "method", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)

METERS_ACCEPTED, VEHICLES_ACCEPTED = READINGS_ACCEPTED.labels("meter"), READINGS_ACCEPTED.labels("vehicle")
make_series(READINGS_REJECTED, "validation", "forbidden", "atomic")
make_series(REQUESTS_REFUSED, *REASONS.values(), *PRECISE_REASONS)


def init_app(app: Flask) -> None:
    app.before_request(_start_clock)
    app.after_request(_stop_clock)
    watch_pool(app.extensions["resources"].database)


def count_accepted(decoded: Decoded) -> None:
    if decoded.meters:
        METERS_ACCEPTED.inc(len(decoded.meters))
    if decoded.vehicles:
        VEHICLES_ACCEPTED.inc(len(decoded.vehicles))


def count_rejected(readings: int, reason: str) -> None:
    """`reason`: validation, forbidden, or atomic (good, in a request that is taken whole or not at all)."""
    if readings:
        READINGS_REJECTED.labels(reason).inc(readings)


def render(resources: Resources) -> bytes:
    """What a scrape of the web shows."""
    registry = role_registry(VERSION)
    registry.register(_Engine(resources))
    return generate_latest(registry)


class _Engine(Collector):
    """Looked up at each scrape and by any process alike, for it is true of the engine and not of a process.

    What can't be told, because a server is away, is left out: absent, rather than wrong.
    """

    def __init__(self, resources: Resources):
        self._held = resources

    def collect(self) -> Iterator[Metric]:
        snapshot = take_snapshot(self._held)
        yield _ready(snapshot)
        if snapshot.redis:
            yield from _backlog(snapshot.redis)
        if snapshot.postgres and snapshot.postgres.days_ahead is not None:
            yield Gauge("energy_partitions_ahead", "Daily partitions beyond today's", snapshot.postgres.days_ahead)
        if snapshot.postgres:
            yield from _alerts(snapshot.postgres)
        if snapshot.postgres and snapshot.postgres.rollups:
            yield from _rollups(snapshot.postgres)


def _ready(snapshot: Snapshot) -> Metric:
    ready = Gauge("energy_ready", "1 where the check of /health/ready passes, 0 where it fails", None, ["check"])
    for name, check in check_readiness(snapshot).items():
        if check.ok is not None:
            ready.add_metric([name], check.ok)
    return ready


def _backlog(snapshot: RedisSnapshot) -> Iterator[Metric]:
    entries = Gauge("energy_backlog_entries", "Entries not yet in Postgres", None, ["shard"])
    lag = Gauge("energy_lag_seconds", "Age of the oldest entry not yet in Postgres, in seconds", None, ["shard"])
    for shard, found in snapshot.shards.items():
        entries.add_metric([str(shard)], found.backlog)
        lag.add_metric([str(shard)], found.lag_seconds)
    yield from (entries, lag)
    used, bound = int(snapshot.info["used_memory"]), int(snapshot.info["maxmemory"])
    yield Gauge("energy_redis_memory_bytes", "Memory that Redis uses", used)
    yield Gauge("energy_redis_max_memory_bytes", "Memory that Redis may use; 0 where it has no bound", bound)


def _rollups(snapshot: PostgresSnapshot) -> Iterator[Metric]:
    state = snapshot.rollups
    if state.watermark:
        age = max(0.0, (snapshot.now - state.watermark).total_seconds())
        yield Gauge("energy_rollup_watermark_age_seconds", "How long ago the roll-ups end, in seconds", age)
    yield Gauge("energy_rollup_marks", "Changes of what was rolled up that are yet to be counted", state.marks)


def _alerts(snapshot: PostgresSnapshot) -> Iterator[Metric]:
    says = "Events that the webhook was not told yet, by how they are"
    for name, text, label, counts in (
        ("energy_alerts", "Alerts of devices that are not resolved", "kind", snapshot.alerts),
        ("energy_webhook_events", says, "state", snapshot.deliveries),
    ):
        gauge = Gauge(name, text, None, [label])
        for value, count in (counts or {}).items():
            gauge.add_metric([value], count)
        yield gauge


def _start_clock() -> None:
    g.started = time.perf_counter()


def _stop_clock(response: Response) -> Response:
    status = response.status_code
    if status >= 400:
        REQUESTS_REFUSED.labels(g.get("refusal") or REASONS.get(status, OTHER)).inc()
    route = request.url_rule.rule if request.url_rule else "unmatched"
    method = request.method if request.method in METHODS else OTHER
    observe_request(route, method, status, time.perf_counter() - g.started)
    return response


def observe_request(route: str, method: str, status: int, seconds: float) -> None:
    _seconds_of(route, method, status).observe(seconds)


@cache
def _seconds_of(route: str, method: str, status: int) -> Histogram:
    """The series of such requests. Kept, because asking for its labels takes as long as counting."""
    return REQUEST_SECONDS.labels(route, method, status)
