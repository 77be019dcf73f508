"""`energy status`: the state of the engine at a glance."""

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import click
import msgspec
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from loadtool.terminal import console, new_table
from models.health.checks import Check
from models.health.readiness import check_readiness, failed_checks
from models.health.server_checks import MIB
from models.health.snapshot import take_detailed_snapshot
from models.health.status import MANY_DEAD_LETTERS, RATE_SECONDS, EngineFigures, ShardFigures, collect_figures
from models.settings import Settings
from webapp.commands.database import settings_or_exit
from webapp.commands.doctor import SYMBOLS
from webapp.commands.parameters import FiniteRange


class Status(NamedTuple):
    time: datetime
    checks: dict[str, Check]
    failed: dict[str, str]
    figures: EngineFigures

    @property
    def word(self) -> str:
        return "not ready" if self.failed else "ready"


@click.command()
@click.option("--watch", is_flag=True, help="Refresh until Ctrl-C.")
@click.option("--interval", type=FiniteRange(0.2, 3600), default=2.0, show_default=True, help="Seconds between.")
@click.option("--json", "as_json", is_flag=True, help="For a program: one object a line.")
def status(watch: bool, interval: float, as_json: bool) -> None:
    """Readiness, backlog and lag, rates, workers, devices and sizes.

    Names what is unavailable or wrong, and then exits with 1. `energy doctor` names the remedies.

    \b
    Examples:
      energy status
      energy status --watch --interval 5
      energy status --json | jq .checks.drain
    """
    settings = settings_or_exit()
    current = _take_status(settings)
    try:
        if as_json or not (watch and sys.stdout.isatty()):
            _print(current, as_json)
            while watch:
                time.sleep(interval)
                current = _take_status(settings)
                _print(current, as_json)
        else:
            with Live(_render(current, short=True), screen=True, auto_refresh=False) as live:
                while True:
                    time.sleep(interval)
                    current = _take_status(settings)
                    live.update(_render(current, short=True), refresh=True)
    except KeyboardInterrupt:
        pass  # ends --watch
    if current.failed:
        raise click.exceptions.Exit(1)


def _take_status(settings: Settings) -> Status:
    snapshot = take_detailed_snapshot(settings)
    checks = check_readiness(snapshot)
    now = datetime.now(UTC).replace(microsecond=0)
    return Status(now, checks, failed_checks(checks), collect_figures(snapshot))


def _print(current: Status, as_json: bool) -> None:
    if as_json:
        checks = {name: check.to_json() for name, check in current.checks.items()}
        head = {"status": current.word, "time": current.time, "checks": checks}
        click.echo(msgspec.json.encode(head | msgspec.to_builtins(current.figures)).decode())
    else:
        console().print(_render(current))
    sys.stdout.flush()


def _render(current: Status, *, short: bool = False) -> RenderableType:
    """`short` fits a window of 24 lines: it has only the names of what is good."""
    style = "bold red" if current.failed else "bold green"
    title = Text.assemble((current.word, style), f"  {current.time:%Y-%m-%d %H:%M:%S} UTC")
    checks = _short_checks(current) if short else _checks(current.checks)
    figures = Table.grid(padding=(0, 2))
    for name, value in _figure_lines(current.figures):
        figures.add_row(name, Text(value))
    return Group(title, checks, _shards(current.figures.shards, current.time), figures)


def _checks(checks: dict[str, Check]) -> RenderableType:
    table = new_table("", "part", "found")
    for name, check in checks.items():
        table.add_row(SYMBOLS[check.verdict], name, Text(check.detail))
    return table


def _short_checks(current: Status) -> RenderableType:
    names = Text("  ").join(
        Text.assemble(SYMBOLS[check.verdict], f"\N{NO-BREAK SPACE}{name}") for name, check in current.checks.items()
    )
    return Group(names, *(Text(f"{name}: {detail}", "red") for name, detail in current.failed.items()))


def _shards(shards: list[ShardFigures], now: datetime) -> RenderableType:
    numbers = ("shard", "backlog", "of", "lag, s", "entries/s", "stored/s", "moved, s ago")
    table = new_table(*numbers, "failure", numbers=numbers)
    for shard in shards:
        moved = max(0, round((now - shard.moved_at).total_seconds())) if shard.moved_at else None
        values = (shard.shard, shard.backlog, shard.max_entries, shard.lag_seconds, shard.entries_per_second)
        row = (*values, shard.readings_stored_per_second, moved, shard.failure)
        table.add_row(*(Text(_shown(value)) for value in row))
    return table


def _figure_lines(figures: EngineFigures) -> Iterator[tuple[str, str]]:
    yield "stored", f"{_shown(figures.readings_stored_per_second)} readings/s over the last {RATE_SECONDS} s"
    workers = [f"{worker.name} {worker.last_seen_seconds_ago} s ago" for worker in figures.workers or ()]
    yield "workers", _shown(None) if figures.workers is None else "; ".join(workers) or "none"
    for kind in ("vehicle", "meter"):
        count = figures.devices and figures.devices[kind]
        yield (
            f"{kind}s",
            f"{count.online:,} online, {count.offline:,} offline, {count.new:,} new in a day"
            if count
            else _shown(None),
        )
    letters = figures.dead_letters
    yield "dead letters", _shown(letters) + (" or more" if letters == MANY_DEAD_LETTERS else "")
    days = figures.partitions
    sizes = days and f"{days.count}, {_shown(days.days_ahead)} days ahead, {_mib(days.bytes)}"
    yield "partitions", f"{sizes}; today's {_mib(days.today_bytes)}" if days else _shown(None)
    postgres, redis = figures.postgres, figures.redis
    yield "Postgres", f"{postgres.version}, {_mib(postgres.bytes)}" if postgres else _shown(None)
    bound = _mib(redis.max_bytes) if redis and redis.max_bytes else "no bound"
    yield "Redis", f"{redis.version}, {_mib(redis.used_bytes)} of {bound}" if redis else _shown(None)


def _mib(size: int) -> str:
    return f"{size / MIB:,.0f} MiB"


def _shown(value: object) -> str:
    """An absent value is a dash, never 0."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
