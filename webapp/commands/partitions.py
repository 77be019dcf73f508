"""`energy partitions`: history's days."""

import click

from loadtool.terminal import print_table
from models.storage import partitions as days
from webapp.commands.database import database

MIB = 1024 * 1024


@click.group()
def partitions() -> None:
    """Partitions of history: one for each UTC day and kind."""


@partitions.command("list")
def list_() -> None:
    """Every partition with its rows (the planner's estimate) and its size with indexes.

    \b
    Example:
      energy partitions list
    """
    with database() as (connection, _):
        found = days.list_partitions(connection)
    print_table(
        ("table", "day (UTC)", "rows, about", "size, MiB"),
        ((p.table, p.day or "older", f"{p.rows:,}", f"{p.bytes / MIB:,.2f}") for p in found),
        numbers=("rows, about", "size, MiB"),
    )


@partitions.command()
@click.option("--days-ahead", type=click.IntRange(0, 90), help="Days from today; default: PARTITION_DAYS_AHEAD.")
def ensure(days_ahead: int | None) -> None:
    """Make the days ahead that are missing.

    Beat has a worker do this every ten minutes; by hand it is for a stack whose workers stood still for days.
    Readers and drains are not stopped by it.

    \b
    Example:
      energy partitions ensure --days-ahead 14
    """
    with database() as (connection, settings):
        ahead = settings.partition_days_ahead if days_ahead is None else days_ahead
        made = days.ensure_partitions(connection, days_ahead=ahead)
    for name in made:
        click.echo(f"made {name}")
    click.echo(f"{len(made)} partitions made; days are there up to {ahead} days ahead.")
