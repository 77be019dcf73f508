"""`energy losses`: list and acknowledge losses."""

import getpass

import click

from loadtool.terminal import print_table
from models.storage.losses import acknowledge_loss, list_losses
from webapp.commands.database import database

MAX_NOTE_LENGTH = 1_000


@click.group()
def losses() -> None:
    """Accepted readings that a server lost: list and acknowledge.

    A diverged stream is repaired by itself; what it lost stays a warning until it is acknowledged.
    """


@losses.command("list")
@click.option("--all", "everything", is_flag=True, help="Acknowledged ones too.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many, the newest first.")
def list_(everything: bool, limit: int) -> None:
    """List losses, the newest first.

    \b
    Example:
      energy losses list --all
    """
    with database() as (connection, _):
        found = list_losses(connection, limit=limit, acknowledged=None if everything else False)
    if not found:
        click.echo("No losses match.")
        return
    print_table(
        ("id", "found (UTC)", "what", "acknowledged by", "note"),
        (
            (loss.id, f"{loss.found_at:%Y-%m-%d %H:%M:%S}", loss.message, loss.acknowledged_by, loss.note)
            for loss in found
        ),
        numbers=("id",),
    )


@losses.command("acknowledge")
@click.argument("loss_ids", type=click.IntRange(1, 2**63 - 1), metavar="ID...", nargs=-1, required=True)
@click.option("--note", help="For other people; replaces an earlier note.")
@click.option("--by", default=getpass.getuser, show_default="the user of this command", help="Who knows about it.")
def acknowledge_(loss_ids: tuple[int, ...], note: str | None, by: str) -> None:
    """Mark losses as known to a person; they are no longer a warning.

    \b
    Example:
      energy losses acknowledge 3 --note 'The depots sent Tuesday again'
    """
    if note is not None and not 1 <= len(note) <= MAX_NOTE_LENGTH:
        raise click.UsageError(f"A note must have 1–{MAX_NOTE_LENGTH} characters.")
    missing = 0
    with database() as (connection, _):
        for loss_id in dict.fromkeys(loss_ids):
            loss = acknowledge_loss(connection, loss_id, by=by, note=note)
            missing += loss is None
            click.echo(f"{loss_id}: {f'acknowledged, {loss.message}' if loss else 'not found'}", err=loss is None)
    if missing:
        raise click.ClickException(f"{missing} of {len(set(loss_ids))} were not found.")
