"""Faults of Redis and Postgres: killed, frozen, stopped, full."""

import signal

import psutil

from tests.chaos.faults import Ground, fault, frozen, kill, under_load

FULL_SECONDS = 60  # within which the backlog reaches its bound


@fault(recovers_in=40)
def redis_killed(ground: Ground) -> None:
    """kill -9 of Redis, which restarts from its append-only file"""
    kill(psutil.Process(ground.stack.pid("redis")))


@fault(recovers_in=60)
def redis_killed_three_times(ground: Ground) -> None:
    """kill -9 of Redis as soon as it runs again, three times"""
    killed = 0
    for _ in range(3):
        killed = ground.stack.pid("redis", other_than=killed)
        kill(psutil.Process(killed))


@fault(recovers_in=40)
def redis_frozen(ground: Ground) -> None:
    """Redis is suspended (SIGSTOP) for 7 s"""
    with frozen(ground.stack.family("redis")):
        under_load(7)


@fault(recovers_in=40)
def redis_stutters(ground: Ground) -> None:
    """Redis is suspended four times, each about as long as the web waits for it"""
    for _ in range(4):
        with frozen(ground.stack.family("redis")):
            under_load(ground.rng.uniform(0.5, 2.5))
        under_load(ground.rng.uniform(0, 0.5))


@fault(recovers_in=40)
def connections_cut(ground: Ground) -> None:
    """both servers close all connections, twenty times"""
    for _ in range(20):
        with ground.stack.redis() as redis, ground.stack.database() as database:
            redis.client_kill_filter(_type="normal")
            database.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'energy-%'"
            )
        under_load(ground.rng.uniform(0, 0.4))


@fault(recovers_in=60)
def both_servers_killed(ground: Ground) -> None:
    """kill -9 of Redis and of Postgres, with all its backends, at the same moment"""
    for process in [*ground.stack.family("postgres"), *ground.stack.family("redis")]:
        kill(process)


@fault(recovers_in=40)
def redis_out_of_memory(ground: Ground) -> None:
    """a long string leaves Redis first little memory, then none"""
    with ground.stack.redis() as redis:
        bound = redis.info("memory")["maxmemory"]
        free = bound - redis.info("memory")["used_memory"]
        with ground.fleet.hurrying():
            redis.setrange("chaos:filler", int(free - bound * 0.11), b"x")
            under_load(4)
        redis.setrange("chaos:filler", int(free + bound * 0.01), b"x")
        under_load(3)
        redis.unlink("chaos:filler")


@fault(recovers_in=60)
def postgres_shut_down_at_once(ground: Ground) -> None:
    """immediate shutdown of Postgres (SIGQUIT), which restarts with crash recovery"""
    psutil.Process(ground.stack.pid("postgres")).send_signal(signal.SIGQUIT)


@fault(recovers_in=60)
def postgres_backend_killed(ground: Ground) -> None:
    """kill -9 of one Postgres backend, after which Postgres ends all connections and recovers"""
    backends = ground.stack.family("postgres")[1:]
    kill(next((each for each in backends if "energy-worker" in " ".join(each.cmdline())), backends[-1]))


@fault(recovers_in=60)
def postgres_frozen(ground: Ground) -> None:
    """Postgres and all its backends are suspended (SIGSTOP) for 20 s"""
    with frozen(ground.stack.family("postgres")):
        under_load(20 if ground.is_long else 12)


@fault(recovers_in=60)
def postgres_out(ground: Ground) -> None:
    """Postgres is down for 2 minutes; in the short form for 10 s"""
    ground.stack.supervisor.stopProcess("postgres")
    under_load(120 if ground.is_long else 10)
    ground.stack.supervisor.startProcess("postgres", False)


@fault(recovers_in=60)
def backlog_full(ground: Ground) -> None:
    """all drains are suspended until the backlog is at its bound and devices are refused"""
    ledger = ground.ledger
    workers = [*ground.stack.family("worker"), *ground.stack.second_worker.family()]
    refused = lambda: ledger.recent.statuses["503"] >= 5  # noqa: E731
    with frozen(workers), ground.fleet.hurrying():
        ground.stack.wait_until(refused, FULL_SECONDS, "refused nothing, without a drain,")
