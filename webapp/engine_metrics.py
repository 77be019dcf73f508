"""The page that Prometheus scrapes: the web's counters, and gauges of the engine from a snapshot at each scrape."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.registry import Collector

from models.analytics.rollups.watermark import RollupState
from models.health.postgres_snapshot import PostgresSnapshot
from models.health.readiness import check_readiness
from models.health.redis_snapshot import RedisSnapshot
from models.health.snapshot import take_snapshot
from models.observability.exposition import role_registry
from models.resources import Resources
from models.version import VERSION

__all__ = ["CONTENT_TYPE", "render"]


def render(resources: Resources) -> bytes:
    """The page in Prometheus' text format."""
    registry = role_registry(VERSION)
    registry.register(_Engine(resources))
    return generate_latest(registry)


class _Engine(Collector):
    """Gauges of the engine: the same whichever process renders them.

    While a server is unavailable its gauges are absent rather than wrong.
    """

    def __init__(self, resources: Resources):
        self._resources = resources

    def collect(self) -> Iterator[Metric]:
        snapshot = take_snapshot(self._resources)
        checks = {name: check.ok for name, check in check_readiness(snapshot).items() if check.ok is not None}
        yield _by_label("energy_ready", "1 if the check of /health/ready passes, 0 if it fails", "check", checks)
        if snapshot.redis:
            yield from _backlog(snapshot.redis)
        if snapshot.postgres and snapshot.postgres.days_ahead is not None:
            yield Gauge("energy_partitions_ahead", "Daily partitions beyond today's", snapshot.postgres.days_ahead)
        if snapshot.postgres:
            yield from _alerts(snapshot.postgres)
            yield Gauge("energy_losses", "Losses that nobody has acknowledged", len(snapshot.postgres.losses or ()))
        if snapshot.postgres and snapshot.postgres.rollups:
            yield from _rollups(snapshot.postgres.now, snapshot.postgres.rollups)


def _by_label(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    gauge = Gauge(name, text, None, [label])
    for value, number in values.items():
        gauge.add_metric([value], number)
    return gauge


def _backlog(snapshot: RedisSnapshot) -> Iterator[Metric]:
    backlog = {str(shard): found.backlog for shard, found in snapshot.shards.items()}
    yield _by_label("energy_backlog_entries", "Entries not yet in Postgres", "shard", backlog)
    lag = {str(shard): found.lag_seconds for shard, found in snapshot.shards.items()}
    yield _by_label("energy_lag_seconds", "Age of the oldest entry not yet in Postgres, in seconds", "shard", lag)
    used, bound = int(snapshot.info["used_memory"]), int(snapshot.info["maxmemory"])
    yield Gauge("energy_redis_memory_bytes", "Memory used by Redis", used)
    yield Gauge("energy_redis_max_memory_bytes", "Redis's maxmemory; 0 without one", bound)


def _rollups(now: datetime, state: RollupState) -> Iterator[Metric]:
    if state.watermark:
        age = max(0.0, (now - state.watermark).total_seconds())
        yield Gauge("energy_rollup_watermark_age_seconds", "Age of the watermark of the roll-ups, in seconds", age)
    yield Gauge("energy_rollup_stale_marks", "Stale marks of hours still to be recomputed", state.stale_marks)


def _alerts(snapshot: PostgresSnapshot) -> Iterator[Metric]:
    alerts, events = snapshot.unresolved_alerts or {}, snapshot.undelivered_events or {}
    if snapshot.new_devices is not None:
        text = "Devices whose first reading was stored within the last day"
        yield _by_label("energy_new_devices", text, "kind", snapshot.new_devices)
    yield _by_label("energy_alerts", "Unresolved alerts of devices", "kind", alerts)
    yield _by_label("energy_webhook_events", "Events not yet delivered to the webhook, by state", "state", events)
