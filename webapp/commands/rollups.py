"""`energy rollups`: how far the hourly roll-ups have come, and computing them anew."""

from datetime import UTC, datetime

import click

from loadtool.terminal import progress
from models.analytics.rollups import watermark as hourly
from models.readings import rfc3339
from webapp.commands.database import database


class Moment(click.ParamType):
    name = "time"

    def convert(self, value, param, ctx) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time; write it like 2026-02-10 or 2026-02-10T10:30:00+01:00", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.group()
def rollups() -> None:
    """Hourly roll-ups: their watermark, and computing them anew.

    The fleet's figures are made of them.
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
@click.option("--from", "start", type=Moment(), help="UTC unless it says otherwise. Default: the first reading.")
@click.option("--to", "end", type=Moment(), help="Not included. Default: the watermark.")
def rebuild(start: datetime | None, end: datetime | None) -> None:
    """Compute hours anew from history, those in which the window begins or ends as a whole.

    It gives the same numbers as the usual way, and is for when a setting that all devices share was changed
    (HEARTBEAT_SECONDS), or somebody wrote into the tables. Ingest and the usual way go on meanwhile; each hour is
    stored by itself, so it may be stopped and run again.

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
    click.echo(f"{len(hours):,} hours, {rows:,} device-hours computed anew.")
