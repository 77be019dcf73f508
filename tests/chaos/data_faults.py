"""Faults of the data: rows that Postgres refuses, a full disk, a diverged stream."""

import contextlib
import shutil
from collections.abc import Iterator

from devstack import private
from tests.chaos.faults import Ground, fault, under_load

HISTORIES = {"meter_readings_history": "kwh_consumed_ac", "vehicle_readings_history": "kwh_delivered_dc"}
QUIET_SECONDS = 40
REPLAY_SECONDS = 120

_DISK_FULL = """
create or replace function chaos_full() returns trigger language plpgsql as
$$ begin raise exception 'could not extend file: No space left on device' using errcode = '53100'; end $$
"""


@fault(recovers_in=40)
def poison_in_ten_thousand(ground: Ground) -> None:
    """one reading in 10,000 is refused by a check constraint, and replayed once that is dropped"""
    # Refuses the remainder of a number that is about to be sent: within a few seconds others may not occur.
    coming = ground.ledger.submissions[-1].last + 200
    with _refusing(ground, f"% 10000 <> {coming % 10000}"):
        ground.stack.wait_until(
            lambda: ground.ledger.submissions[-1].last > coming + 500, QUIET_SECONDS, "accepted too few readings"
        )
        _wait_until_stored(ground)
    assert _replay(ground) >= 1


@fault(recovers_in=40)
def poison_in_most_of_a_batch(ground: Ground) -> None:
    """60 % of the readings are refused by a check constraint, and replayed once that is dropped"""
    with _refusing(ground, "% 10 >= 6"):
        under_load(4)
        _wait_until_stored(ground)
    assert _replay(ground) >= 100


@fault(recovers_in=40)
def disk_full(ground: Ground) -> None:
    """Postgres refuses every row with 53100 (disk full) for 5 s"""
    with ground.stack.database() as database:
        database.execute(_DISK_FULL)
        for history in HISTORIES:
            database.execute(
                f"create trigger chaos_full before insert on {history} for each row execute function chaos_full()"
            )
        under_load(5)
        for history in HISTORIES:
            database.execute(f"drop trigger chaos_full on {history}")


@fault(recovers_in=40)
def redis_flushed(ground: Ground) -> None:
    """FLUSHALL of a Redis whose entries were all stored"""
    _assert_no_false_alarm(ground)
    with ground.fleet.paused():
        _wait_until_stored(ground)
        with ground.stack.redis() as redis:
            redis.flushall()
    _expect_divergence(ground)


@fault(recovers_in=40)
def redis_restored_from_older_file(ground: Ground) -> None:
    """Redis is stopped and started on an older copy of its append-only file; all was stored before"""
    _assert_no_false_alarm(ground)
    data, copy = ground.stack.home / "redis", ground.stack.home / "redis.copy"
    shutil.copytree(data, copy)  # under load, with entries in it that are stored later
    under_load(3)
    with ground.fleet.paused():
        _wait_until_stored(ground)
        ground.stack.supervisor.stopProcess("redis")
        shutil.rmtree(data)
        shutil.copytree(copy, data)
        private.hand_over(data, private.server_user())
        shutil.rmtree(copy)
        ground.stack.supervisor.startProcess("redis", False)
        ground.stack.pid("redis")
    _expect_divergence(ground)


def _assert_no_false_alarm(ground: Ground) -> None:
    """Divergence is expected from here on; none may have been noted before."""
    with ground.stack.database() as database:
        noted = database.execute("select shard, diverged_at from ingest_positions where diverged_at is not null")
        assert noted.fetchall() == [], "a divergence is noted, though no stream diverged"


def _expect_divergence(ground: Ground) -> None:
    """Readiness reports it; it is cleared then, since the audit counts only divergences that no fault caused."""

    def is_reported() -> bool:
        return "Diverged and was repaired" in ground.stack.health()[1].get("stream", {}).get("detail", "")

    ground.stack.wait_until(is_reported, QUIET_SECONDS, "does not report that its stream diverged")
    with ground.stack.database() as database:
        database.execute("update ingest_positions set diverged_at = null")


def _wait_until_stored(ground: Ground) -> None:
    """Waits until all readings accepted so far are stored: then they can no longer be lost or refused."""
    wanted = dict(ground.ledger.newest)

    def is_stored() -> bool:
        return all(position >= wanted.get(shard, position) for shard, position in ground.stack.positions().items())

    ground.stack.wait_until(is_stored, QUIET_SECONDS, "has not stored all accepted readings")


@contextlib.contextmanager
def _refusing(ground: Ground, condition: str) -> Iterator[None]:
    """Within the block, history accepts only readings whose number fulfils the condition."""
    with ground.stack.database() as database:
        for history, column in HISTORIES.items():
            number = f"round({column} * 1000)::int8"
            database.execute(
                f"alter table {history} add constraint chaos_poison check ({number} {condition}) not valid"
            )
        try:
            yield
        finally:
            for history in HISTORIES:
                database.execute(f"alter table {history} drop constraint chaos_poison")


def _replay(ground: Ground) -> int:
    """Replays all dead letters, twice at the same time; returns their number."""
    with ground.stack.database() as database:
        letters = database.execute("select count(*) from dead_letters where replayed_at is null").fetchone()[0]
    command = ("webapp.commands", "dead-letters", "replay", "--all")
    replays = [ground.stack.run_beside(*command) for _ in range(2)]
    assert [replay.wait(REPLAY_SECONDS) for replay in replays] == [0, 0]
    with ground.stack.database() as database:
        assert database.execute("select count(*) from dead_letters where replayed_at is null").fetchone()[0] == 0
    return letters
