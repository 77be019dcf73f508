"""`energy mapping`: imports mappings, which say which meter feeds which vehicle."""

from pathlib import Path
from typing import Any

import click
import psycopg

from models.devices.mapping import EndsTooEarly, map_vehicle, refresh_statistics
from webapp.commands.csv_lines import read_lines, store_lines
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
    """Import mappings from a CSV file: all of them, or none if a line is wrong.

    The first line names the columns vehicleId, meterId, from, to. Both times may be left out or empty:
    without `from` a mapping holds for all the past, without `to` until it is ended. A mapping that exists gets the end
    in the file.

    \b
    Example:
      printf 'vehicleId,meterId,from,to\\nV001,M001,,\\nV002,M002,2026-02-01T00:00:00Z,\\n' > fleet.csv
      energy mapping import fleet.csv
    """
    schema = NewMappingSchema()
    lines = read_lines(
        file, REQUIRED, COLUMNS, lambda line: schema.load({name: text for name, text in line.items() if text}), _key
    )
    new = store_lines(lines, _store)
    with database() as (connection, _):
        refresh_statistics(connection)
    click.echo(f"Imported {len(lines)} mappings: {new} new, {len(lines) - new} existed already.")


def _key(line: dict[str, Any]) -> tuple[str, str, str]:
    return line["vehicleId"], line["meterId"], str(line["valid_from"])


def _store(connection: psycopg.Connection, line: dict[str, Any]) -> bool:
    vehicle_id, meter_id = line["vehicleId"], line["meterId"]
    try:
        return map_vehicle(connection, vehicle_id, meter_id, line["valid_from"], line["valid_to"])[1]
    except EndsTooEarly:
        raise click.ClickException(
            f"{vehicle_id} and {meter_id}: `to` is before their open mapping begins; nothing was imported."
        ) from None
