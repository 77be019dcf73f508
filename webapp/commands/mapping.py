"""`energy mapping`: which meter feeds which vehicle, many at once."""

from pathlib import Path

import click

from loadtool.terminal import progress
from models.devices.mapping import EndsTooEarly, map_vehicle, refresh_statistics
from webapp.commands.csv_lines import BadLine, read_lines, refuse
from webapp.commands.database import database
from webapp.devices.mapping import NewMappingSchema

REQUIRED = ("vehicleId", "meterId")
COLUMNS = (*REQUIRED, "from", "to")


@click.group()
def mapping() -> None:
    """Which meter feeds which vehicle."""


@mapping.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
def import_(file: Path) -> None:
    """Import mappings from a CSV file: all of them, or none where a line is wrong.

    The first line names the columns vehicleId, meterId, from, to; the times may be left out or empty (always;
    until told otherwise). A mapping that is there already gets the end that the file says.

    \b
    Example:
      printf 'vehicleId,meterId,from,to\\nV001,M001,,\\nV002,M002,2026-02-01T00:00:00Z,\\n' > fleet.csv
      energy mapping import fleet.csv
    """
    mappings, bad = read_mappings(file)
    if bad:
        refuse(file, len(mappings), bad)
    new = 0
    # In the order of the key, so that two imports never wait for each other in a circle.
    ordered = sorted(mappings, key=lambda m: (m["vehicleId"], m["meterId"], str(m["valid_from"])))
    with database() as (connection, _), connection.transaction(), progress("importing", len(ordered)) as show:
        for number, row in enumerate(ordered, 1):
            try:
                _, is_new = map_vehicle(
                    connection, row["vehicleId"], row["meterId"], row["valid_from"], row["valid_to"]
                )
            except EndsTooEarly:
                raise click.ClickException(
                    f"{row['vehicleId']} and {row['meterId']}: `to` is before their open mapping begins; "
                    "nothing was imported."
                ) from None
            new += is_new
            show(number, f"{number:,} of {len(ordered):,} mappings")
        refresh_statistics(connection)
    click.echo(f"Imported {len(ordered)} mappings: {new} new, {len(ordered) - new} there already.")


def read_mappings(file: Path) -> tuple[list[dict], list[BadLine]]:
    """The good lines as NewMappingSchema loads them, and the bad ones with the reason."""
    schema = NewMappingSchema()
    return read_lines(
        file,
        REQUIRED,
        COLUMNS,
        load=lambda line: schema.load({name: value for name, value in line.items() if value}),
        key=lambda mapping: (mapping["vehicleId"], mapping["meterId"], mapping["valid_from"]),
    )
