"""`flask mapping`: which meter feeds which vehicle, many at once."""

import csv
from pathlib import Path
from typing import NamedTuple

import click
from marshmallow import ValidationError

from models.mapping import map_vehicle
from webapp.commands.database import database
from webapp.commands.output import progress
from webapp.schemas import MappingSchema

REQUIRED = ("vehicleId", "meterId")
COLUMNS = (*REQUIRED, "from", "to")
SHOWN_ERRORS = 50


class BadLine(NamedTuple):
    number: int
    reason: str


@click.group()
def mapping() -> None:
    """The meters that feed the vehicles' chargers."""


@mapping.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
def import_(file: Path) -> None:
    """Import mappings from a CSV file: all of them, or none where a line is wrong.

    The first line names the columns vehicleId, meterId, from, to; the times may be left out or empty (always;
    until told otherwise). A mapping that is there already gets the end that the file says.

    \b
    Example:
      printf 'vehicleId,meterId,from,to\\nV001,M001,,\\nV002,M002,2026-02-01T00:00:00Z,\\n' > fleet.csv
      flask --app webapp mapping import fleet.csv
    """
    mappings, bad = read_mappings(file)
    if bad:
        for line in bad[:SHOWN_ERRORS]:
            click.echo(f"{file.name}, line {line.number}: {line.reason}", err=True)
        if len(bad) > SHOWN_ERRORS:
            click.echo(f"… and {len(bad) - SHOWN_ERRORS} more", err=True)
        raise click.ClickException(f"{len(bad)} of {len(bad) + len(mappings)} lines are wrong; nothing was imported.")
    new = 0
    # In the order of the key, so that two imports never wait for each other in a circle.
    ordered = sorted(mappings, key=lambda m: (m["vehicleId"], m["meterId"], str(m["valid_from"])))
    with database() as (connection, _), connection.transaction(), progress("importing", len(ordered)) as show:
        for number, row in enumerate(ordered, 1):
            _, is_new = map_vehicle(connection, row["vehicleId"], row["meterId"], row["valid_from"], row["valid_to"])
            new += is_new
            show(number, f"{number:,} of {len(ordered):,} mappings")
    click.echo(f"Imported {len(ordered)} mappings: {new} new, {len(ordered) - new} there already.")


def read_mappings(file: Path) -> tuple[list[dict], list[BadLine]]:
    """The good lines as MappingSchema loads them, and the bad ones with the reason."""
    schema, mappings, bad = MappingSchema(), [], []
    first_line: dict[tuple, int] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, skipinitialspace=True, strict=True)
            _check_header(reader.fieldnames or [])
            for row in reader:
                try:
                    loaded = schema.load(_given(row))
                except ValidationError as error:
                    bad.append(BadLine(reader.line_num, _in_words(error)))
                    continue
                name = (loaded["vehicleId"], loaded["meterId"], loaded["valid_from"])
                if first_line.setdefault(name, reader.line_num) != reader.line_num:
                    bad.append(BadLine(reader.line_num, f"says again what line {first_line[name]} says"))
                    continue
                mappings.append(loaded)
    except (UnicodeDecodeError, csv.Error) as error:
        raise click.ClickException(f"{file.name} is no CSV file in UTF-8: {error}") from None
    return mappings, bad


def _check_header(names: list[str]) -> None:
    missing = [name for name in REQUIRED if name not in names]
    unknown = [name for name in names if name not in COLUMNS]
    if missing or unknown:
        wrong = [f"{' and '.join(missing)} missing"] if missing else []
        wrong += [f"unknown: {', '.join(map(repr, unknown))}"] if unknown else []
        raise click.ClickException(f"The first line must name the columns {','.join(COLUMNS)}; {'; '.join(wrong)}.")


def _given(row: dict) -> dict[str, str]:
    if None in row:
        raise ValidationError("has more fields than the first line")
    return {name: value.strip() for name, value in row.items() if value and value.strip()}


def _in_words(error: ValidationError) -> str:
    return "; ".join(
        " ".join(reasons) if field == "_schema" else f"{field}: {' '.join(reasons)}"
        for field, reasons in error.normalized_messages().items()
    )
