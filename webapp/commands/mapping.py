"""`energy mapping` and `energy sessions`: import which meter feeds which vehicle."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import psycopg
from marshmallow import Schema, ValidationError

from models.analytics.sessions.records import SessionError, start_session
from models.devices.mapping import EndsTooEarly, map_vehicle, refresh_statistics
from models.readings import rfc3339
from webapp.commands.csv_lines import read_lines, store_lines
from webapp.commands.database import database, settings_or_exit
from webapp.devices.mapping import NewMappingSchema
from webapp.http.fields import Timestamp, device_id

REQUIRED = ("vehicleId", "meterId")
COLUMNS = (*REQUIRED, "from", "to")
_SESSION_COLUMNS = (*REQUIRED, "startedAt", "endedAt")


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


# ── Sessions ─────────────────────────────────────────────────────────────────────────────────────────────────


class SessionLineSchema(Schema):
    vehicleId = device_id(required=True)
    meterId = device_id(required=True)
    startedAt = Timestamp(required=True)
    endedAt = Timestamp(required=True)


@click.group()
def sessions() -> None:
    """Charging sessions that are over."""


@sessions.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
def import_sessions(file: Path) -> None:
    """Import sessions of any age from a CSV file: all of them, or none if a line is wrong.

    The first line names the columns vehicleId, meterId, startedAt, endedAt. A session that exists is left as it is.
    Roll-ups of its hours are recomputed as far as history goes back.

    \b
    Example:
      printf 'vehicleId,meterId,startedAt,endedAt\\nV001,M001,2025-03-01T20:00Z,2025-03-02T05:00Z\\n' > charges.csv
      energy sessions import charges.csv
    """
    longest = timedelta(days=settings_or_exit().session_max_days)
    lines = read_lines(
        file, _SESSION_COLUMNS, _SESSION_COLUMNS, _loader(longest), lambda line: (line["vehicleId"], line["startedAt"])
    )
    new = store_lines(lines, _store_session)
    click.echo(f"Imported {len(lines)} sessions: {new} new, {len(lines) - new} existed already.")


def _loader(longest: timedelta) -> Callable[[dict[str, str]], dict[str, Any]]:
    schema = SessionLineSchema()

    def load(line: dict[str, str]) -> dict[str, Any]:
        loaded: dict[str, Any] = schema.load(line)
        if not timedelta() < loaded["endedAt"] - loaded["startedAt"] <= longest:
            raise ValidationError(f"Must be after the start, by at most {longest.days} days.", "endedAt")
        return loaded

    return load


def _store_session(connection: psycopg.Connection, line: dict[str, Any]) -> bool:
    try:
        return start_session(connection, line["vehicleId"], line["meterId"], line["startedAt"], line["endedAt"])[1]
    except SessionError as error:
        other = error.session
        raise click.ClickException(
            f"{line['vehicleId']}, {rfc3339(line['startedAt'])}: session {other.id} is in the way, at {other.meter_id} "
            f"from {rfc3339(other.started_at)}; nothing was imported."
        ) from None
