"""Faults of the engine's processes: Celery workers, web workers, rival drains, doorbells, all together."""

import signal

import psutil
from celery import Celery

from tests.chaos.faults import Ground, fault, frozen, kill, under_load

KILLS = 5
CHILD_SECONDS = 1.0  # between two kills
RIVAL = "tests.chaos.rival_drain"
RIVAL_SECONDS = 30  # within which a rival drain gets a shard


@fault(recovers_in=30)
def celery_children_killed(ground: Ground) -> None:
    """kill -9 of a child of either Celery worker, five times"""
    for _ in range(KILLS):
        members = [*ground.stack.family("worker")[1:], *ground.stack.second_worker.family()[1:]]
        kill(ground.rng.choice(members))
        under_load(ground.rng.uniform(0, CHILD_SECONDS))


@fault(recovers_in=30)
def celery_parents_killed(ground: Ground) -> None:
    """kill -9 of a Celery worker's parent, three times in turn"""
    for turn in range(3):
        workers = [lambda: ground.stack.family("worker")[0], lambda: ground.stack.second_worker.family()[0]]
        kill(workers[turn % 2]())
        under_load(ground.rng.uniform(0, 2))


@fault(recovers_in=30)
def killed_between_commit_and_trim(ground: Ground) -> None:
    """a drain that commits its batch and is killed (kill -9) before it trims the stream, three times"""
    for _ in range(3):
        assert ground.stack.run_beside(RIVAL, "kill").wait(RIVAL_SECONDS) == -signal.SIGKILL


@fault(recovers_in=30)
def paused_between_commit_and_trim(ground: Ground) -> None:
    """a drain that is suspended between commit and trim while others continue, and then trims again"""
    rival = ground.stack.run_beside(RIVAL, "pause")
    process = psutil.Process(rival.pid)
    ground.stack.wait_until(lambda: process.status() == psutil.STATUS_STOPPED, RIVAL_SECONDS, "let no rival drain")
    before = ground.stack.positions()
    moved = lambda: all(position > before[shard] for shard, position in ground.stack.positions().items())  # noqa: E731
    for _ in range(2):
        ground.stack.wait_until(moved, RIVAL_SECONDS, "did not continue to drain")
        before = ground.stack.positions()
    process.send_signal(signal.SIGCONT)
    assert rival.wait(RIVAL_SECONDS) == 0


@fault(recovers_in=30)
def rival_drains_on_one_shard(ground: Ground) -> None:
    """two more drains that take the same shards in a tight loop, beside the workers"""
    rivals = [ground.stack.run_beside(RIVAL, "race") for _ in range(2)]
    assert [rival.wait(RIVAL_SECONDS) for rival in rivals] == [0, 0]


@fault(recovers_in=30)
def doorbell_rung_a_thousand_times(ground: Ground) -> None:
    """a thousand duplicate drain messages"""
    with Celery("chaos", broker=ground.stack.env["REDIS_URL"]) as bell:
        for turn in range(1000):
            bell.send_task("workers.drain.drain", [turn % 2], queue="drain")


@fault(recovers_in=30)
def web_workers_killed(ground: Ground) -> None:
    """kill -9 of a web worker, three times"""

    def web_workers() -> list:
        return [each for each in ground.stack.family("web")[1:] if each.is_running()]

    for _ in range(3):
        ground.stack.wait_until(web_workers, 20, "has no web worker")  # killed ones are restarted after a while
        kill(ground.rng.choice(web_workers()))
        under_load(ground.rng.uniform(0, 2))


@fault(recovers_in=30)
def celery_worker_frozen(ground: Ground) -> None:
    """a Celery worker, with all its children, is suspended (SIGSTOP) for 6 s at any point"""
    workers = [ground.stack.second_worker.family, lambda: ground.stack.family("worker")]
    with frozen(ground.rng.choice(workers)()):
        under_load(6)


@fault(recovers_in=30)
def web_worker_frozen(ground: Ground) -> None:
    """a web worker is suspended for longer than a client waits (12 s), in the short form for 4 s"""
    with frozen([ground.rng.choice(ground.stack.family("web")[1:])]):
        under_load(12 if ground.is_long else 4)


@fault(recovers_in=30)
def beat_killed(ground: Ground) -> None:
    """kill -9 of beat, whose sweep rings for backlogs without a doorbell"""
    kill(psutil.Process(ground.stack.pid("beat")))


@fault(recovers_in=40)
def warm_restart_of_everything(ground: Ground) -> None:
    """SIGTERM to the whole stack under load, and a new start"""
    ground.stack.stop()
    ground.stack.start()
