"""`energy dead-letters`: list, show and replay readings that Postgres refused for good."""

import click
import msgspec

from loadtool.terminal import print_table, progress
from models.storage.dead_letters import StoredDeadLetter, get_dead_letter, list_dead_letters
from models.storage.replay import count_replayable, replay_batch
from webapp.commands.database import database


@click.group("dead-letters")
def dead_letters() -> None:
    """Readings that the database refused for good.

    Each is kept with the reason, and can be replayed into history.
    """


@dead_letters.command("list")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many, the newest first.")
@click.option("--replayed", is_flag=True, help="Also those already replayed.")
def list_(limit: int, replayed: bool) -> None:
    """List dead letters, the newest first.

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
                letter.id,
                f"{letter.received_at:%Y-%m-%d %H:%M:%S}",
                letter.kind,
                _field(letter, "vehicleId") or _field(letter, "meterId"),
                _field(letter, "timestamp"),
                letter.reason,
                *([letter.replayed_at and f"{letter.replayed_at:%Y-%m-%d %H:%M:%S}"] if replayed else []),
            )
            for letter in letters
        ),
        numbers=("id",),
    )


@dead_letters.command()
@click.argument("letter_id", type=click.IntRange(1, 2**63 - 1), metavar="ID")
def show(letter_id: int) -> None:
    """Show one dead letter as JSON, with a binary payload in base64.

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
@click.option("--all", "everything", is_flag=True, help="All that were not replayed yet.")
def replay(letter_ids: tuple[int, ...], everything: bool) -> None:
    """Store dead letters in history and live, after their cause was fixed.

    Each is replayed once, even if the command is repeated or runs twice at a time, and keeps its received time. A
    reading that is refused again stays a dead letter, with the new reason. An interrupted command has replayed whole
    batches: run it again.

    \b
    Examples:
      energy dead-letters replay 17 18
      energy dead-letters replay --all
    """
    if bool(letter_ids) == everything:
        raise click.UsageError("Give ids, or --all.")
    ids = sorted(set(letter_ids)) or None
    with database() as (connection, _):
        total = count_replayable(connection, ids)
        replayed = refused = last_id = 0
        with progress("replaying", total) as show_progress:
            while batch := replay_batch(connection, ids=ids, after=last_id):
                replayed, refused, last_id = replayed + batch.replayed, refused + batch.refused, batch.last_id
                show_progress(replayed + refused, f"{replayed:,} replayed, {refused:,} refused again")
    click.echo(f"Replayed {replayed}, refused again {refused}.")
    if ids and (absent := len(ids) - replayed - refused) > 0:
        click.echo(f"{absent} of the ids were not found, or were replayed already, maybe by another command just now.")
    if refused:
        raise click.exceptions.Exit(1)


def _field(letter: StoredDeadLetter, field: str) -> str | None:
    return (letter.reading or {}).get(field)
