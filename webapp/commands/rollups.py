"""`energy rollups`: the state of the hourly roll-ups, and recomputing them."""

from datetime import UTC, datetime

import click

from loadtool.terminal import progress
from models.analytics.rollups import watermark as hourly
from models.readings import rfc3339
from webapp.commands.database import database
from webapp.commands.parameters import Moment


@click.group()
def rollups() -> None:
    """Hourly roll-ups: their watermark, and recomputing them.

    The fleet's answers are sums of them.
    """


@rollups.command()
def status() -> None:
    """The watermark, its age, and the pending stale marks.

    Everything recorded before the watermark is rolled up; a stale mark is a later change before it.

    \b
    Example:
      energy rollups status
    """
    with database() as (connection, _):
        state = hourly.get_state(connection)
    if state.watermark is None or state.moved_at is None:
        click.echo("Nothing is rolled up yet; the first step runs within 15 seconds.")
    else:
        age = (datetime.now(UTC) - state.watermark).total_seconds()
        click.echo(f"watermark    {rfc3339(state.watermark, 'seconds')}, {age:,.0f} s ago")
        click.echo(f"moved        {rfc3339(state.moved_at, 'seconds')}")
    click.echo(f"stale marks  {state.stale_marks:,} pending")


@rollups.command()
@click.option("--from", "start", type=Moment(), help="UTC without a zone. Default: the first reading.")
@click.option("--to", "end", type=Moment(), help="Not included. Default: the watermark.")
def rebuild(start: datetime | None, end: datetime | None) -> None:
    """Recompute the hours of a window from history, its first and last hour as a whole.

    Needed after a change of HEARTBEAT_SECONDS, or after somebody wrote into the tables. Ingest and the usual roll-ups
    continue meanwhile. Each hour is stored by itself, so the command may be interrupted and repeated.

    \b
    Example:
      energy rollups rebuild --from 2026-02-01 --to 2026-03-01
    """
    if start and end and start >= end:
        raise click.BadParameter("must be after --from", param_hint="--to")
    with database() as (connection, settings):
        hours = hourly.list_rebuild_hours(connection, start, end)
        rows = 0
        with progress("Rebuilding", len(hours)) as show:
            computed = hourly.rebuild(connection, start, end, heartbeat_seconds=settings.heartbeat_seconds)
            for done, (hour, count) in enumerate(computed, 1):
                rows += count
                show(done, f"{hour:%Y-%m-%d %H:00}")
    click.echo(f"{len(hours):,} hours, {rows:,} device-hours recomputed.")
