"""`energy status`: how the engine is, at a glance."""

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import click
import msgspec
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from loadtool.terminal import console, new_table
from models.health.checks import Check
from models.health.readiness import check_readiness, failed_checks
from models.health.snapshot import take_close_snapshot
from models.health.status import MANY_DEAD_LETTERS, RATE_SECONDS, collect_figures
from models.settings import Settings
from webapp.commands.database import settings_or_exit
from webapp.commands.verdicts import SYMBOLS

MIB = 1024 * 1024


@click.command()
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option("--interval", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True, help="Seconds between.")
@click.option("--json", "as_json", is_flag=True, help="For a program: one object a line.")
def status(watch: bool, interval: float, as_json: bool) -> None:
    """Readiness, backlog and lag, rates, workers, devices and sizes.

    Names what is away or wrong, and then ends with 1. What to do about it: `energy doctor`.

    \b
    Examples:
      energy status
      energy status --watch --interval 5
      energy status --json | jq .checks.drain
    """
    settings = settings_or_exit()
    found = _take_snapshot(settings)
    try:
        if as_json or not (watch and sys.stdout.isatty()):
            _print(found, as_json)
            while watch:
                time.sleep(interval)
                found = _take_snapshot(settings)
                _print(found, as_json)
        else:
            with Live(_render(found, short=True), screen=True, auto_refresh=False) as live:
                while True:
                    time.sleep(interval)
                    found = _take_snapshot(settings)
                    live.update(_render(found, short=True), refresh=True)
    except KeyboardInterrupt:
        pass  # the way to end --watch
    if failed_checks(found["checks"]):
        raise click.exceptions.Exit(1)


def _take_snapshot(settings: Settings) -> dict:
    snapshot = take_close_snapshot(settings)
    checks = check_readiness(snapshot)
    return {
        "status": "not ready" if failed_checks(checks) else "ready",
        "time": datetime.now(UTC).replace(microsecond=0),
        "checks": checks,
        **collect_figures(snapshot),
    }


def _print(found: dict, as_json: bool) -> None:
    if as_json:
        shown = {**found, "checks": {name: check.shown() for name, check in found["checks"].items()}}
        click.echo(msgspec.json.encode(shown).decode())
    else:
        console().print(_render(found))
    sys.stdout.flush()


def _render(found: dict, *, short: bool = False) -> RenderableType:
    """`short` fits a window of 24 lines: of what is well only the name is told."""
    style = "bold red" if failed_checks(found["checks"]) else "bold green"
    title = Text.assemble((found["status"], style), f"  {found['time']:%Y-%m-%d %H:%M:%S} UTC")
    checks = _short_checks(found["checks"]) if short else _checks(found["checks"])
    return Group(title, checks, _shards(found["shards"], found["time"]), _figures(found))


def _checks(checks: dict[str, Check]) -> RenderableType:
    table = new_table("", "part", "found")
    for name, check in checks.items():
        table.add_row(SYMBOLS[check.verdict], name, Text(check.detail))
    return table


def _short_checks(checks: dict[str, Check]) -> RenderableType:
    marks = Text("  ").join(
        Text.assemble(SYMBOLS[check.verdict], f"\N{NO-BREAK SPACE}{name}") for name, check in checks.items()
    )
    return Group(marks, *(Text(f"{name}: {detail}", "red") for name, detail in failed_checks(checks).items()))


def _shards(shards: list[dict], now: datetime) -> RenderableType:
    numbers = ("shard", "backlog", "of", "lag, s", "entries/s", "stored/s", "moved, s ago")
    table = new_table(*numbers, "failure", numbers=numbers)
    for shard in shards:
        moved = shard["lastMove"] and max(0, round((now - shard["lastMove"]).total_seconds()))
        values = [shard[name] for name in ("backlog", "maxEntries", "lagSeconds", "entriesPerSecond")]
        row = (shard["shard"], *values, shard["readingsStoredPerSecond"], moved, shard["failure"])
        table.add_row(*(Text(_told(value)) for value in row))
    return table


def _figures(found: dict) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for name, value in _figure_lines(found):
        table.add_row(name, Text(value))
    return table


def _figure_lines(found: dict) -> Iterator[tuple[str, str]]:
    yield "stored", f"{_told(found['readingsStoredPerSecond'])} readings/s over the last {RATE_SECONDS} s"
    workers = found["workers"]
    heard = workers and "; ".join(f"{worker['name']} {worker['heardSecondsAgo']} s ago" for worker in workers)
    yield "workers", "–" if workers is None else heard or "none"
    devices = found["devices"] or {"vehicle": None, "meter": None}
    for kind, count in devices.items():
        yield f"{kind}s", f"{count['online']:,} online, {count['offline']:,} offline" if count else "–"
    letters = found["deadLetters"]
    yield "dead letters", _told(letters) + (" or more" if letters == MANY_DEAD_LETTERS else "")
    days = found["partitions"]
    told = days and f"{days['count']}, {_told(days['daysAhead'])} days ahead, {_mib(days['bytes'])}"
    yield "partitions", f"{told}; today's {_mib(days['todayBytes'])}" if days else "–"
    postgres, redis = found["postgres"], found["redis"]
    yield "Postgres", f"{postgres['version']}, {_mib(postgres['bytes'])}" if postgres else "–"
    bound = _mib(redis["maxBytes"]) if redis and redis["maxBytes"] else "no bound"
    yield "Redis", f"{redis['version']}, {_mib(redis['usedBytes'])} of {bound}" if redis else "–"


def _mib(size: int) -> str:
    return f"{size / MIB:,.0f} MiB"


def _told(value: object) -> str:
    """An absent value is a dash, never 0."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
