"""The states of test_states.py, produced on real servers.

A state is a generator: it produces the state, yields, and takes it away again.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple

import psycopg
import redis

from models.observability.heartbeats import BEAT, SWEEP, WORKER
from models.readings import Entry, encode_entry, to_microseconds
from models.storage.partitions import ensure_partitions
from tests.factories import ago, meter


class World(NamedTuple):
    client: Any
    broker: redis.Redis
    database: psycopg.Connection
    resources: Any

    def connect(self, application: str = "psql") -> psycopg.Connection:
        return psycopg.connect(self.resources.settings.database_url, application_name=application)

    def post(self) -> None:
        assert self.client.post("/v1/telemetry", json=meter()).status_code == 202

    def add_old_entry(self) -> None:
        """One that has waited for more than 30 s."""
        payload = encode_entry(Entry([("OLD", to_microseconds(ago(seconds=90)), 1.0, 230.0)], []))
        self.broker.xadd("telemetry:{1}", {"v1": payload}, id=f"{int((time.time() - 90) * 1000)}-0")

    def drain(self, shard: int) -> None:
        from workers.drain import drain

        drain(shard)

    def end_sessions_of_engine(self) -> None:
        """New ones begin with the settings of now, as after a restart."""
        self.database.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'energy-%'"
        )
        time.sleep(0.2)


@contextmanager
def produced(produce: Callable[[World], Iterator[None]], world: World) -> Iterator[None]:
    state = produce(world)
    next(state)
    try:
        yield
    finally:
        next(state, None)


# ── The states ───────────────────────────────────────────────────────────────────────────────────────────────


def read_only(world: World) -> Iterator[None]:
    world.database.execute("alter database energy set default_transaction_read_only = on")
    world.end_sessions_of_engine()
    yield
    with world.connect() as connection:
        connection.execute("set default_transaction_read_only = off")
        connection.commit()
        connection.execute("alter database energy reset default_transaction_read_only")


def disk_full(world: World) -> Iterator[None]:
    world.add_old_entry()
    world.database.execute(
        """create function full_disk() returns trigger language plpgsql as
           $$ begin raise 'could not extend file: No space left on device' using errcode = '53100'; end $$;
           create trigger full_disk before insert on ingest_batches for each row execute function full_disk()"""
    )
    world.drain(1)
    yield
    world.database.execute("drop function full_disk cascade")


def _locked(world: World, statement: str) -> Iterator[None]:
    """An open transaction of psql's holds a lock, and a drain waits for it."""
    world.add_old_entry()
    world.post()
    with world.connect() as connection:
        connection.execute(statement)
        draining = [threading.Thread(target=world.drain, args=[shard]) for shard in (0, 1)]
        for thread in draining:
            thread.start()
        time.sleep(0.3)
        yield
        connection.rollback()
    for thread in draining:
        thread.join()


def live_table_locked(world: World) -> Iterator[None]:
    yield from _locked(world, "lock table meter_readings_live in access exclusive mode")


def positions_locked(world: World) -> Iterator[None]:
    world.database.execute("insert into ingest_positions (shard) values (0), (1)")
    yield from _locked(world, "select from ingest_positions for update")


def partition_locked(world: World) -> Iterator[None]:
    name = f"meter_readings_history_{ago():%Y%m%d}"
    (found,) = world.database.execute("select to_regclass(%s) is not null", [name]).fetchone()
    assert found, name
    yield from _locked(world, f"lock table {name} in exclusive mode")


def long_idle_transaction(world: World) -> Iterator[None]:
    with world.connect("report.py") as connection:
        connection.execute("select 1")
        yield


def no_partition(world: World) -> Iterator[None]:
    names = [f"{kind}_readings_history_{ago():%Y%m%d}" for kind in ("meter", "vehicle")]
    world.database.execute(f"drop table {', '.join(names)}")
    yield
    ensure_partitions(world.database, days_ahead=7)


def no_connection_left(world: World) -> Iterator[None]:
    with ExitStack() as stack:
        with suppress(psycopg.OperationalError):
            while True:
                stack.enter_context(world.connect("greedy"))
        yield


def redis_memory_full(world: World) -> Iterator[None]:
    bound = world.broker.config_get("maxmemory")["maxmemory"]
    world.broker.config_set("maxmemory", int(world.broker.info("memory")["used_memory"] * 1.02))
    yield
    world.broker.config_set("maxmemory", bound)


def redis_clients_full(world: World) -> Iterator[None]:
    bound = world.broker.config_get("maxclients")["maxclients"]
    world.broker.config_set("maxclients", 1)
    yield
    world.broker.config_set("maxclients", bound)


def _silent(world: World, *names: str) -> Iterator[None]:
    for name in names:
        world.broker.zincrby("telemetry:heartbeats", -90, name)
    yield


def beat_frozen(world: World) -> Iterator[None]:
    yield from _silent(world, BEAT, SWEEP)


def workers_frozen(world: World) -> Iterator[None]:
    world.add_old_entry()
    yield from _silent(world, f"{WORKER}celery@test/1", SWEEP)


def garbage_in_the_broker(world: World) -> Iterator[None]:
    world.broker.lpush("drain", "garbage")
    yield
    world.broker.delete("drain")


def flushed(world: World) -> Iterator[None]:
    for _ in range(4):
        world.post()
    world.drain(0)
    world.drain(1)
    world.post()
    heartbeats = world.broker.dump("telemetry:heartbeats")
    world.broker.flushall()
    world.broker.restore("telemetry:heartbeats", 0, heartbeats)
    yield


def streams_deleted(world: World) -> Iterator[None]:
    for _ in range(4):
        world.post()
    world.drain(0)
    world.drain(1)
    world.post()
    world.broker.delete("telemetry:{0}", "telemetry:{1}")
    yield


def _revision(world: World, revision: str) -> Iterator[None]:
    (before,) = world.database.execute("select version_num from alembic_version").fetchone()
    world.database.execute("update alembic_version set version_num = %s", [revision])
    yield
    world.database.execute("update alembic_version set version_num = %s", [before])


def schema_behind(world: World) -> Iterator[None]:
    yield from _revision(world, "0003")


def schema_unknown(world: World) -> Iterator[None]:
    yield from _revision(world, "mine")


def live_table_missing(world: World) -> Iterator[None]:
    world.database.execute("alter table meter_readings_live rename to elsewhere")
    yield
    world.database.execute("alter table elsewhere rename to meter_readings_live")


def slot_forgotten(world: World) -> Iterator[None]:
    world.database.execute("select pg_create_physical_replication_slot('replica_2', true)")
    for _ in range(5):  # 16 MiB each
        world.database.execute("select pg_logical_emit_message(false, 'test', 'x')")
        world.database.execute("select pg_switch_wal()")
    yield
    world.database.execute("select pg_drop_replication_slot('replica_2')")


def appendfsync_no(world: World) -> Iterator[None]:
    world.broker.config_set("appendfsync", "no")
    yield
    world.broker.config_set("appendfsync", "always")


def appendonly_no(world: World) -> Iterator[None]:
    world.broker.config_set("appendonly", "no")
    yield
    world.broker.config_set("appendonly", "yes")


def rollups_held(world: World) -> Iterator[None]:
    world.database.execute(
        """insert into rollup_state (marked_until, rolled_until, moved_at)
           select at, at, at from (select now() - interval '2 hours' as at) as ago"""
    )
    yield
