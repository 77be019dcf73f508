"""Imports of CSV files: every line is checked before the first is stored, and all are stored or none."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import psycopg
from marshmallow import ValidationError

from loadtool.terminal import progress
from webapp.commands.database import database

MAX_ERRORS = 50  # lines printed

Line = TypeVar("Line")


def store_lines(lines: Sequence[Line], store: Callable[[psycopg.Connection, Line], bool]) -> int:
    """Stores the lines in one transaction; returns how many of them `store` reported as new."""
    new = 0
    with database() as (connection, _), connection.transaction(), progress("importing", len(lines)) as show:
        for number, line in enumerate(lines, 1):
            new += store(connection, line)
            show(number, f"{number:,} of {len(lines):,} lines")
    return new


def read_lines(
    file: Path,
    required: Sequence[str],
    columns: Sequence[str],
    load: Callable[[dict[str, str]], Line],
    key: Callable[[Line], Any],
) -> list[Line]:
    """The lines as `load` returns them, by key. Raises ClickException if one is wrong, after printing the wrong ones.

    `load` gets the texts of a line by column, stripped, "" for an empty field, and raises ValidationError. Two lines
    with one `key` are wrong.
    """
    lines: list[Line] = []
    wrong: list[str] = []
    number_of: dict[Any, int] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text, skipinitialspace=True, strict=True)
            _check_header(reader.fieldnames or [], required, columns)
            for row in reader:
                try:
                    if None in row:
                        raise ValidationError("has more fields than the first line")
                    line = load({name: (value or "").strip() for name, value in row.items()})
                    if (first := number_of.setdefault(key(line), reader.line_num)) != reader.line_num:
                        raise ValidationError(f"repeats line {first}")
                    lines.append(line)
                except ValidationError as error:
                    wrong.append(f"{file.name}, line {reader.line_num}: {_describe(error)}")
    except (UnicodeDecodeError, csv.Error) as error:
        raise click.ClickException(f"{file.name} is not a CSV file in UTF-8: {error}") from None
    if wrong:
        click.echo("\n".join(wrong[:MAX_ERRORS]), err=True)
        if len(wrong) > MAX_ERRORS:
            click.echo(f"… and {len(wrong) - MAX_ERRORS} more", err=True)
        raise click.ClickException(f"{len(wrong)} of {len(wrong) + len(lines)} lines are wrong; nothing was imported.")
    # One order for every import, so that two at once do not deadlock.
    return sorted(lines, key=key)


def _check_header(names: Sequence[str], required: Sequence[str], columns: Sequence[str]) -> None:
    missing = [name for name in required if name not in names]
    unknown = [repr(name) for name in names if name not in columns]
    wrong = [f"{' and '.join(missing)} missing"] if missing else []
    wrong += [f"unknown: {', '.join(unknown)}"] if unknown else []
    if wrong:
        raise click.ClickException(f"The first line must name the columns {','.join(columns)}; {'; '.join(wrong)}.")


def _describe(error: ValidationError) -> str:
    return "; ".join(
        " ".join(reasons) if field == "_schema" else f"{field}: {' '.join(reasons)}"
        for field, reasons in error.normalized_messages().items()
    )
