"""`energy dead-letters`: readings that Postgres refused for good, and their way back."""

import click
import msgspec

from loadtool.terminal import print_table, progress
from models.storage.dead_letters import get_dead_letter, list_dead_letters
from models.storage.replay import count_replayable, replay_batch
from webapp.commands.database import database


@click.group("dead-letters")
def dead_letters() -> None:
    """Readings that the database refused for good.

    Each is kept with the reason, and can be brought back.
    """


@dead_letters.command("list")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="The newest so many.")
@click.option("--replayed", is_flag=True, help="Also those that were brought back.")
def list_(limit: int, replayed: bool) -> None:
    """The newest dead letters first.

    \b
    Example:
      energy dead-letters list --limit 10
    """
    with database() as (connection, _):
        letters = list_dead_letters(connection, limit=limit, include_replayed=replayed)
    if not letters:
        click.echo("There are no dead letters.")
        return
    print_table(
        ("id", "received (UTC)", "kind", "device", "timestamp", "reason", *(["replayed (UTC)"] if replayed else [])),
        (
            (
                letter["id"],
                f"{letter['received_at']:%Y-%m-%d %H:%M:%S}",
                letter["kind"],
                _told(letter, "vehicleId") or _told(letter, "meterId"),
                _told(letter, "timestamp"),
                letter["reason"],
                *([letter["replayed_at"] and f"{letter['replayed_at']:%Y-%m-%d %H:%M:%S}"] if replayed else []),
            )
            for letter in letters
        ),
        numbers=("id",),
    )


@dead_letters.command()
@click.argument("letter_id", type=click.IntRange(1, 2**63 - 1), metavar="ID")
def show(letter_id: int) -> None:
    """One dead letter with all that is known of it, as JSON (a payload that is no text in base64).

    \b
    Example:
      energy dead-letters show 17 | jq .reading
    """
    with database() as (connection, _):
        letter = get_dead_letter(connection, letter_id)
    if letter is None:
        raise click.ClickException(f"There is no dead letter {letter_id}.")
    click.echo(msgspec.json.format(msgspec.json.encode(letter)).decode())


@dead_letters.command()
@click.argument("letter_ids", type=click.IntRange(1, 2**63 - 1), metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that were not brought back yet.")
def replay(letter_ids: tuple[int, ...], everything: bool) -> None:
    """Bring readings back into history and live, after what refused them was mended.

    Each comes back once, however often and by however many operators this is run; the time at which it was
    received stays. What is refused again stays a dead letter, with the new reason. Interrupted, it has done
    whole batches: run it again.

    \b
    Examples:
      energy dead-letters replay 17 18
      energy dead-letters replay --all
    """
    if bool(letter_ids) == everything:
        raise click.UsageError("Say which: ids, or --all.")
    ids = sorted(set(letter_ids)) or None
    with database() as (connection, settings):
        total = count_replayable(connection, ids)
        replayed = refused = last_id = 0
        with progress("replaying", total) as show_progress:
            while batch := replay_batch(connection, settings.stream_shards, ids=ids, after=last_id):
                replayed, refused, last_id = replayed + batch.replayed, refused + batch.refused, batch.last_id
                show_progress(replayed + refused, f"{replayed:,} brought back, {refused:,} refused again")
    click.echo(f"Brought back {replayed}, refused again {refused}.")
    if ids and (absent := len(ids) - replayed - refused) > 0:
        click.echo(f"{absent} of the ids are not there, were brought back before, or are in another replay's hands.")
    if refused:
        raise click.exceptions.Exit(1)


def _told(letter: dict, field: str) -> str | None:
    return (letter["reading"] or {}).get(field)
