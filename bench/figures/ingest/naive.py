"""The naive baseline: Flask and marshmallow, one Celery task a reading, an ORM insert and an upsert in each.

It runs on the same servers, with the same granian options and two Celery processes, under the same load; without keys
and limits. It accepts more than it stores, so its client is suspended like the engine's, while tasks of more than two
seconds wait. The figure is the rate of storing. See bench/baselines/naive.py.
"""

import sys

import psycopg

from bench.bench import Bench
from bench.figures.ingest.singles import CONNECTIONS
from bench.load import full_speed
from bench.measured import Value
from bench.stack import Stack
from bench.watch import Watch, pace, shares

DATABASE = "naive"
MOST_WAITING = 1_000  # tasks
MAKE_TABLES = "from bench.baselines.naive_tasks import Base, engine; Base.metadata.create_all(engine)"
WORKER = ["celery", "--quiet", "-A", "bench.baselines.naive_tasks", "worker", "--without-gossip", "--without-mingle"]


def measure(bench: Bench) -> list[Value]:
    stack = bench.stack
    stack.stop()
    with stack.connect() as connection:
        connection.execute(f"create database {DATABASE}")
    database_url = stack.database_url.rsplit("/", 1)[0] + f"/{DATABASE}"
    try:
        _start(stack, database_url)
        with psycopg.connect(database_url, autocommit=True) as database, stack.redis(database=1) as broker:
            plan = bench.plan("singles", CONNECTIONS, seconds=bench.seconds(30, 12))
            with Watch(stack, lambda: _stored(database), lambda: broker.llen("celery")) as watch:
                sent = full_speed.send(plan, bench.show, hold=lambda: broker.llen("celery") > MOST_WAITING)
            stack.stop()
            broker.flushdb()
    finally:
        stack.stop()
        with stack.connect() as connection:
            connection.execute(f"drop database {DATABASE} with (force)")
    found = pace(watch)
    note = f"client held back {sent.held:.0%} of the time; {shares(found.cpu)}"
    return [Value("naive.stored", "naive: readings stored", found.stored_per_second, "/s", None, found.samples, note)]


def _start(stack: Stack, database_url: str) -> None:
    urls = {
        "NAIVE_DATABASE_URL": database_url.replace("postgresql:", "postgresql+psycopg:"),
        "NAIVE_BROKER_URL": stack.redis_url.rsplit("/", 1)[0] + "/1",
    }
    stack.command([sys.executable, "-c", MAKE_TABLES], **urls)
    stack.run("naive-worker", [sys.executable, "-m", *WORKER, "--concurrency", "2", "--loglevel", "INFO"], **urls)
    stack.run("naive-web", stack.web("bench.baselines.naive:create_app"), **urls)
    stack.wait_until_listening()
    stack.wait_until(lambda: "ready." in (stack.home / "log/naive-worker.log").read_text(), "no worker")


def _stored(database: psycopg.Connection) -> int:
    """By the highest ids: none of its transactions fails, so they have no gaps."""
    newest = "(select coalesce(max(id), 0) from meter_readings) + (select coalesce(max(id), 0) from vehicle_readings)"
    return database.execute(f"select {newest}").fetchone()[0]
