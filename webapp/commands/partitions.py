"""`energy partitions`: list and create the partitions of history."""

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
    """List partitions with their rows (the planner's estimate) and their size with indexes.

    \b
    Example:
      energy partitions list
    """
    with database() as (connection, _):
        found = days.list_partitions(connection)
    print_table(
        ("table", "day (UTC)", "rows (estimate)", "size, MiB"),
        (
            (p.table, p.day or "older", None if p.rows is None else f"{p.rows:,}", f"{p.bytes / MIB:,.2f}")
            for p in found
        ),
        numbers=("rows (estimate)", "size, MiB"),
    )


@partitions.command()
@click.option("--days-ahead", type=click.IntRange(0, 90), help="Days from today; default: PARTITION_DAYS_AHEAD.")
def ensure(days_ahead: int | None) -> None:
    """Create the missing partitions of the days ahead.

    A worker does this every ten minutes. By hand it is needed only if the workers were stopped for days. It does not
    block readers and drains.

    \b
    Example:
      energy partitions ensure --days-ahead 14
    """
    with database() as (connection, settings):
        ahead = settings.partition_days_ahead if days_ahead is None else days_ahead
        created = days.ensure_partitions(connection, days_ahead=ahead)
    for name in created:
        click.echo(f"created {name}")
    click.echo(f"{len(created)} partitions created; history has partitions for {ahead} days ahead.")
