"""`energy export`: readings from the database into a file."""

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import click
import psycopg
from marshmallow import ValidationError

from loadtool.terminal import progress
from models.exports.csv_copy import Selection, copy_csv, estimate_rows, export_connection
from models.exports.parquet import to_parquet
from models.readings import KINDS
from webapp.commands.database import settings_or_exit
from webapp.commands.parameters import DeviceId, Moment
from webapp.http.fields import close_window

MIB = 1024 * 1024
FORMATS = ("csv", "parquet")


@click.group()
def export() -> None:
    """Write history to a file, CSV or Parquet."""


@export.command()
@click.option("--kind", type=click.Choice(sorted(KINDS)), required=True)
@click.option("--from", "start", type=Moment(), help="Readings at or after this time. Default: 24 hours before --to.")
@click.option("--to", "end", type=Moment(), help="Readings before this time. Default: now.")
@click.option("--device", "devices", type=DeviceId(), multiple=True, help="Only this device; may be repeated.")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), help="Default: by the extension of FILE; csv without one."
)
@click.option(
    "-o", "--output", "file", required=True, metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
    help="Written as FILE.part, and renamed when it is complete.",
)  # fmt: skip
def readings(
    kind: str, start: datetime | None, end: datetime | None, devices: tuple[str, ...], form: str | None, file: Path
) -> None:
    """Write the readings of a window to a file, CSV or Parquet.

    The same as GET /v1/export/readings, but in a process of its own, so it does not slow down the service.

    \b
    Examples:
      energy export readings --kind vehicle -o vehicles.parquet
      energy export readings --kind meter --from 2026-02-01T00:00:00Z --to 2026-03-01T00:00:00Z -o feb.csv
    """
    try:
        start, end = close_window(start, end)
    except ValidationError as error:
        raise click.UsageError(f"--to: {' '.join(error.messages)}") from None
    if start >= end:
        raise click.UsageError("--from must be before --to.")
    form = _format(form, file)
    selection = Selection(KINDS[kind], start, end, devices)
    part = file.with_name(f"{file.name}.part")
    try:
        rows = _write(selection, form, part)
        part.replace(file)
    except psycopg.Error as error:
        raise click.ClickException(
            f"Postgres: {str(error).strip() or type(error).__name__}; no file was written."
        ) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or part}: {error.strerror}; no file was written.") from None
    finally:
        part.unlink(missing_ok=True)
    click.echo(f"{file}: {rows:,} readings, {file.stat().st_size / MIB:,.1f} MiB.")


def _format(chosen: str | None, file: Path) -> str:
    """Raises UsageError if the name of the file promises another format."""
    extension = file.suffix.lower().removeprefix(".")
    if extension in FORMATS and chosen in (None, extension):
        return extension
    if chosen and extension not in FORMATS:
        return chosen
    if extension:
        raise click.UsageError(
            f"-o: {file.name} is no {chosen} file; name it .{chosen}."
            if chosen
            else f"-o: {file.name} would be neither CSV nor Parquet; name it .csv or .parquet, or give --format."
        )
    return FORMATS[0]


def _write(selection: Selection, form: str, part: Path) -> int:
    """Writes the file and syncs it to disk; returns the number of readings."""
    rows = 0
    with part.open("wb") as output, export_connection(settings_or_exit()) as connection:
        expected = estimate_rows(connection, selection)
        with closing(copy_csv(connection, selection, header=False)) as csv, progress("exporting", expected) as show:

            def counted() -> Iterator[bytes]:
                nonlocal rows
                for block in csv:
                    rows += block.count(b"\n")
                    # `expected` is an estimate; the bar must not be full before the end.
                    show(min(rows, 0.99 * expected), f"{rows:,} of about {expected:,} readings")
                    yield block

            if form == "csv":
                output.write(f"{','.join(selection.columns)}\n".encode())
            for piece in counted() if form == "csv" else to_parquet(selection, counted()):
                output.write(piece)
            show(expected, f"{rows:,} readings")
        output.flush()
        os.fsync(output.fileno())
    return rows
