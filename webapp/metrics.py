"""The web's figures for Prometheus, over all its processes where PROMETHEUS_MULTIPROC_DIR is set."""

import os
import time

import redis
from flask import Flask, Response, g, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from models.connections import Connections
from webapp.decoding import Decoded

CONTENT_TYPE = CONTENT_TYPE_LATEST

READINGS_ACCEPTED = Counter("energy_readings_accepted_total", "Readings put into the stream", ["kind"])
READINGS_REJECTED = Counter("energy_readings_rejected_total", "Readings that the contract refused")
REQUEST_SECONDS = Histogram(
    "energy_request_seconds",
    "Time to answer a request, in seconds",
    ["route", "method", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)


def init_app(app: Flask) -> None:
    app.before_request(_start_clock)
    app.after_request(_stop_clock)


def count_ingest(decoded: Decoded) -> None:
    if decoded.meters:
        READINGS_ACCEPTED.labels("meter").inc(len(decoded.meters))
    if decoded.vehicles:
        READINGS_ACCEPTED.labels("vehicle").inc(len(decoded.vehicles))
    if decoded.rejected:
        READINGS_REJECTED.inc(decoded.rejected)


def render(held: Connections) -> bytes:
    """The figures of all web processes, and the backlog of each shard as it stands now."""
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
    return generate_latest(registry) + generate_latest(_backlog(held))


def _backlog(held: Connections) -> CollectorRegistry:
    registry = CollectorRegistry()
    entries = Gauge("energy_backlog_entries", "Entries not yet in Postgres", ["shard"], registry=registry)
    lag = Gauge("energy_lag_seconds", "Age of the oldest entry not yet in Postgres", ["shard"], registry=registry)
    try:
        for shard in held.stream.known_shards():
            entries.labels(shard).set(held.stream.backlog(shard))
            oldest = held.stream.oldest(shard)
            lag.labels(shard).set(max(0, time.time() - oldest.ms / 1000) if oldest else 0)
    except redis.RedisError:
        return CollectorRegistry()  # absent, rather than wrong
    return registry


def _start_clock() -> None:
    g.started = time.perf_counter()


def _stop_clock(response: Response) -> Response:
    route = request.url_rule.rule if request.url_rule else "unmatched"
    REQUEST_SECONDS.labels(route, request.method, response.status_code).observe(time.perf_counter() - g.started)
    return response
