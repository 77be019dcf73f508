"""`python -m bench`: measures one figure after the other and prints them."""

import signal
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

import click
import psycopg
import redis

from bench import BenchError, ground, machine, report
from bench.bench import Bench, Skipped
from bench.figures import FIGURES, QUICK, title
from bench.measured import Value
from bench.ratios import ratios
from bench.watch import OTHERS, cpu_shares, usage
from loadtool.terminal import console, progress

RESULTS = Path(__file__).parent / "results"
# Disk space for three fleet days, a copy of one without the covering index, and logs.
FULL_GIB, QUICK_GIB = 26.0, 3.0


class Names(click.ParamType):
    """Names of figures, separated by commas."""

    name = "figures"

    def convert(self, value, param, context) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        wanted = {name.strip() for name in value.split(",") if name.strip()}
        if unknown := sorted(wanted - FIGURES.keys()):
            self.fail(f"no such figure: {', '.join(unknown)}; there are: {', '.join(FIGURES)}", param, context)
        return tuple(name for name in FIGURES if name in wanted)


@click.command(context_settings={"max_content_width": 110})
@click.option("--quick", is_flag=True, help="Under three minutes: the figures of the ratios, each for a short time.")
@click.option("--only", type=Names(), help="These figures only, separated by commas: bulk,lag")
@click.option(
    "--results", type=click.Path(file_okay=False, path_type=Path), default=RESULTS, help="Where the JSON file goes."
)
@click.option("--list", "listed", is_flag=True, help="Shows the figures and ends.")
def main(quick: bool, only: tuple[str, ...] | None, results: Path, listed: bool) -> None:
    """Measure the engine on this machine, beside its alternatives.

    Starts servers and an engine of its own, on free ports, in a folder that is deleted at the end; running stacks are
    not touched. Prints a table, and writes every figure with its samples to bench/results/. If a figure fails, its row
    has the reason, the others are still taken, and the exit status is 1. A missed goal does not change it.

    The full run takes about 25 minutes and 26 GiB of disk, in $ENERGY_HOME or the folder of temporary files.

    \b
    Examples:
      make bench
      make bench QUICK=1
      make bench ONLY=bulk,lag
      python -m bench --quick --only singles,naive
    """
    if listed:
        for name in FIGURES:
            click.echo(f"{name:12}{title(name)}{'  (quick)' if name in QUICK else ''}")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # stops everything as Ctrl-C does
    chosen = only or (QUICK if quick else tuple(FIGURES))
    started = datetime.now(UTC)
    values: list[Value] = []
    others: dict[str, float] = {}  # cores used by other programs of this machine
    try:
        with ground.running(QUICK_GIB if quick else FULL_GIB) as running:
            described = machine.describe(running)
            click.echo(report.machine_line(described))
            bench = Bench(running, quick, show=lambda *_: None)
            for name in chosen:
                before = usage(running)
                values += take(bench, name)
                others[name] = round(cpu_shares([before, usage(running)], lambda each: each.cpu)[OTHERS], 2)
    except BenchError as error:
        raise click.ClickException(str(error)) from None
    values += ratios(values, quick)
    console().print(report.table(values))
    if disturbed := report.disturbance(others):
        click.secho(disturbed, fg="yellow")
    file = report.write(results, report.as_json(values, described, others, started, quick), started)
    minutes = (datetime.now(UTC) - started).total_seconds() / 60
    click.echo(f"{minutes:.0f} minutes; with every sample: {file}")
    sys.exit(1 if any(value.value is None and not value.is_skipped for value in values) else 0)


def take(bench: Bench, name: str) -> list[Value]:
    """The figure's values; if it fails, one with the reason."""
    began = time.monotonic()
    with progress(f"{name:10}", 1) as show:
        bench.show = show
        try:
            values = FIGURES[name].measure(bench)
        except Skipped as reason:
            return [Value(name, title(name), None, "", note=f"skipped: {reason}", is_skipped=True)]
        except Exception as error:  # the other figures are still taken
            known = isinstance(error, (BenchError, psycopg.Error, redis.RedisError))
            reason = str(error).strip() if known else "".join(traceback.format_exception(error, limit=-1)).strip()
            values = [Value(name, title(name), None, "", note=f"failed: {reason}")]
        show(1, f"{time.monotonic() - began:.0f} s")
    return values


if __name__ == "__main__":
    main()
