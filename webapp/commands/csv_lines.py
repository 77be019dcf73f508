"""CSV files that a command takes in: every line is checked before the first one counts."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import click
from marshmallow import ValidationError

SHOWN_ERRORS = 50


class BadLine(NamedTuple):
    number: int
    reason: str


def read_lines(
    file: Path, required: Sequence[str], columns: Sequence[str], load: Callable[[dict], Any], key: Callable[[Any], Any]
) -> tuple[list, list[BadLine]]:
    """What `load` makes of the good lines, and the bad ones with the reason; two lines of one `key` are one too many.

    `load` is given a line by column, stripped, "" where a field is empty; it raises ValidationError.
    Raises click.ClickException where the file is no CSV, or its first line doesn't name the columns.
    """
    good, bad = [], []
    first_line: dict[Any, int] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, skipinitialspace=True, strict=True)
            _check_header(reader.fieldnames or [], required, columns)
            for row in reader:
                try:
                    if None in row:
                        raise ValidationError("has more fields than the first line")
                    loaded = load({name: (value or "").strip() for name, value in row.items()})
                except ValidationError as error:
                    bad.append(BadLine(reader.line_num, _in_words(error)))
                    continue
                if first_line.setdefault(key(loaded), reader.line_num) != reader.line_num:
                    bad.append(BadLine(reader.line_num, f"says again what line {first_line[key(loaded)]} says"))
                    continue
                good.append(loaded)
    except (UnicodeDecodeError, csv.Error) as error:
        raise click.ClickException(f"{file.name} is no CSV file in UTF-8: {error}") from None
    return good, bad


def refuse(file: Path, good: int, bad: Sequence[BadLine]) -> NoReturn:
    """Ends the command, with the bad lines."""
    for line in bad[:SHOWN_ERRORS]:
        click.echo(f"{file.name}, line {line.number}: {line.reason}", err=True)
    if len(bad) > SHOWN_ERRORS:
        click.echo(f"… and {len(bad) - SHOWN_ERRORS} more", err=True)
    raise click.ClickException(f"{len(bad)} of {len(bad) + good} lines are wrong; nothing was imported.")


def _check_header(names: Sequence[str], required: Sequence[str], columns: Sequence[str]) -> None:
    missing = [name for name in required if name not in names]
    unknown = [name for name in names if name not in columns]
    if missing or unknown:
        wrong = [f"{' and '.join(missing)} missing"] if missing else []
        wrong += [f"unknown: {', '.join(map(repr, unknown))}"] if unknown else []
        raise click.ClickException(f"The first line must name the columns {','.join(columns)}; {'; '.join(wrong)}.")


def _in_words(error: ValidationError) -> str:
    return "; ".join(
        " ".join(reasons) if field == "_schema" else f"{field}: {' '.join(reasons)}"
        for field, reasons in error.normalized_messages().items()
    )
