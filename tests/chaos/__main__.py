"""`python -m tests.chaos`: all faults at random, over a loaded stack, for a given time."""

import random
import signal
import sys
import time
from collections import deque
from threading import Event, Thread

import click
from rich.console import Console

from tests.chaos.audit import audit, show
from tests.chaos.devices import Fleet
from tests.chaos.faults import Fault, Ground
from tests.chaos.ledger import Ledger, Outcome
from tests.chaos.stack import Stack
from tests.chaos.trials import FAULTS, Trial, inflict, recover, table_of

PROGRESS_SECONDS = 10
CALM_SECONDS = 3  # at most, between two faults
BACKLOG_BOUND = 20_000  # entries
FINAL_STORE_SECONDS = 180


@click.command(context_settings={"max_content_width": 100})
@click.option("--minutes", default=10.0, show_default=True, help="How long faults are inflicted.")
@click.option("--rate", default=4000, show_default=True, help="Readings a second that the devices try to send.")
@click.option("--batch", default=120, show_default=True, help="Readings of an average batch; 4 of 10 are single.")
@click.option("--seed", type=int, help="Repeats the order of faults of an earlier run. [default: random, printed]")
@click.option(
    "--only", multiple=True, type=click.Choice(sorted(FAULTS)), metavar="FAULT", help="Only this; repeatable."
)
@click.option("--list", "listed", is_flag=True, help="Shows the faults and ends.")
def main(minutes: float, rate: int, batch: int, seed: int | None, only: tuple[str, ...], listed: bool) -> None:
    """Prove that no accepted reading is lost or doubled, whatever crashes.

    Starts a stack of its own on free ports, in a folder of temporary files. Devices post numbered readings while faults
    are inflicted at random. At the end the answers are compared with the database, reading by reading. Exit status 1
    if anything is lost, doubled or wrong.

    \b
    Examples:
      make chaos MINUTES=10
      make chaos MINUTES=30 RATE=8000
      python -m tests.chaos --minutes 2 --only redis_killed --only postgres_frozen
      python -m tests.chaos --seed 1234        the same faults in the same order again
    """
    if listed:
        for fault in FAULTS.values():
            click.echo(f"{fault.name:34}{fault.what}")
        return
    seed = random.randrange(10_000) if seed is None else seed
    click.echo(f"seed {seed}: to repeat it, --seed {seed}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # stops the stack as Ctrl-C does
    ledger = Ledger()
    with (
        Stack(STREAM_MAX_ENTRIES=str(BACKLOG_BOUND)) as stack,
        Fleet(stack.url, ledger, seed=seed, rate=rate, batch=batch) as fleet,
    ):
        ground = Ground(stack, fleet, ledger, random.Random(seed), is_long=True)
        trials = run(ground, [FAULTS[name] for name in only or FAULTS], minutes * 60)
        click.echo("waiting until all is stored …")
        with fleet.paused():
            found = audit(stack, ledger, store_seconds=FINAL_STORE_SECONDS)
    console = Console(width=150)
    console.print(table_of(trials))
    show(found, console)
    sys.exit(1 if found.faults else 0)


def run(ground: Ground, faults: list[Fault], seconds: float) -> list[Trial]:
    """One fault after the other until the time is over; each once before any is repeated."""
    over, now = Event(), ["start"]
    Thread(target=_print_progress, args=(ground, over, now), daemon=True).start()
    trials: list[Trial] = []
    waiting: deque[Fault] = deque()
    until = time.monotonic() + seconds
    try:
        recover(ground, 30)
        while time.monotonic() < until:
            waiting = waiting or deque(ground.rng.sample(faults, len(faults)))
            fault = waiting.popleft()
            now[0] = fault.name
            ground.stack.variables["INGEST_FALLBACK"] = ground.rng.choice(["off", "direct"])  # at the next restart
            trials.append(inflict(ground, fault))
            now[0] = f"recovered in {trials[-1].recovered_in:.1f} s"
            time.sleep(ground.rng.uniform(0, CALM_SECONDS))
    finally:
        over.set()
    return trials


def _print_progress(ground: Ground, over: Event, now: list[str]) -> None:
    started = time.monotonic()
    while not over.wait(PROGRESS_SECONDS):
        count = ground.ledger.total.readings
        backlog = ground.stack.backlog()
        click.echo(
            f"{time.monotonic() - started:5.0f} s  accepted {count[Outcome.ACCEPTED]:>11,}  "
            f"refused {count[Outcome.REFUSED]:>9,}  unknown {count[Outcome.UNKNOWN]:>8,}  "
            f"backlog {'?' if backlog == 1_000_000 else f'{backlog:,}':>7} entries  {now[0]}"
        )


if __name__ == "__main__":
    main()
