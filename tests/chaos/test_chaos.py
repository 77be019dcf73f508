"""No accepted reading is lost or doubled, whatever crashes: each fault once, under light load, on one stack."""

import random
from collections.abc import Iterator

import pytest
from rich.console import Console

from tests.chaos.audit import assert_conserved
from tests.chaos.devices import Fleet
from tests.chaos.faults import Ground
from tests.chaos.ledger import Ledger
from tests.chaos.stack import Stack
from tests.chaos.trials import FAULTS, Trial, inflict_and_audit, table_of

pytestmark = pytest.mark.slow

SEED = 3
READINGS_A_SECOND = 400
READINGS_A_BATCH = 10
BACKLOG_BOUND = 5_000  # entries; the devices reach it within seconds

# These come last, in a stack that writes into Postgres while Redis is unavailable.
WITH_FALLBACK = ["redis_killed", "redis_killed_three_times", "redis_frozen"]
FIRST = [name for name in FAULTS if name != "warm_restart_of_everything"]


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    ledger = Ledger()
    with (
        Stack(STREAM_MAX_ENTRIES=str(BACKLOG_BOUND)) as stack,
        Fleet(stack.url, ledger, seed=SEED, rate=READINGS_A_SECOND, batch=READINGS_A_BATCH) as fleet,
    ):
        stack.wait_until(lambda: ledger.last_accepted_at, 20, "accepts nothing")
        yield Ground(stack, fleet, ledger, random.Random(SEED))


@pytest.fixture(scope="module")
def trials(request: pytest.FixtureRequest) -> Iterator[list[Trial]]:
    """All trials, printed at the end for the table of docs/guarantees.md."""
    made: list[Trial] = []
    yield made
    with request.config.pluginmanager.get_plugin("capturemanager").global_and_fixture_disabled():
        Console(width=150).print("", table_of(made))


@pytest.mark.parametrize("name", FIRST)
def test_nothing_is_lost_or_doubled(ground: Ground, trials: list[Trial], name: str):
    trials.append(inflict_and_audit(ground, FAULTS[name]))
    assert_conserved(trials[-1].audit)


def test_a_warm_restart_of_everything_loses_and_doubles_nothing(ground: Ground, trials: list[Trial]):
    ground.stack.variables["INGEST_FALLBACK"] = "direct"
    trials.append(inflict_and_audit(ground, FAULTS["warm_restart_of_everything"]))
    assert_conserved(trials[-1].audit)


@pytest.mark.parametrize("name", WITH_FALLBACK)
def test_writing_without_redis_loses_and_doubles_nothing(ground: Ground, trials: list[Trial], name: str):
    trials.append(inflict_and_audit(ground, FAULTS[name]))
    assert_conserved(trials[-1].audit)
