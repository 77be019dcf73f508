"""`energy devices`: what is known of devices beside their readings, many at once."""

import csv
import json
import sys
from contextlib import nullcontext
from pathlib import Path

import click
from marshmallow import Schema, ValidationError, fields, validate

from loadtool.terminal import print_table, progress
from models.devices.settings import list_devices, set_device
from models.readings import KINDS
from webapp.commands.csv_lines import read_lines, refuse
from webapp.commands.database import database
from webapp.devices.answers import settings_fields
from webapp.devices.settings import NewDeviceSettingsSchema
from webapp.http.fields import device_id

REQUIRED = ("kind", "deviceId")
SETTINGS = ("register", "heartbeatSeconds", "name", "site", "ratedPowerKw")
COLUMNS = (*REQUIRED, *SETTINGS)
NUMBERS = ("heartbeatSeconds", "ratedPowerKw")

_KIND = click.Choice(list(KINDS))


class NameSchema(Schema):
    kind = fields.String(required=True, validate=validate.OneOf(list(KINDS)))
    deviceId = device_id(required=True)


@click.group()
def devices() -> None:
    """Settings of devices: register, heartbeat, name, site, power."""


@devices.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
def import_(file: Path) -> None:
    """Import settings from a CSV file: all of them, or none where a line is wrong.

    The first line names the columns: kind, deviceId, and any of register, heartbeatSeconds, name, site,
    ratedPowerKw. A column that is not there changes nothing; an empty field goes back to the default. So what
    `export` writes can be edited and imported again.

    \b
    Example:
      printf 'kind,deviceId,register,site\\nmeter,M001,cumulative,depot-north\\n' > fleet.csv
      energy devices import fleet.csv
    """
    found, bad = read_lines(file, REQUIRED, COLUMNS, _load, key=lambda line: line[:2])
    if bad:
        refuse(file, len(found), bad)
    new = 0
    # In the order of the key, so that two imports never wait for each other in a circle.
    with database() as (connection, _), connection.transaction(), progress("importing", len(found)) as show:
        for number, (kind, name, given) in enumerate(sorted(found, key=lambda line: line[:2]), 1):
            new += set_device(connection, KINDS[kind], name, given)[1]
            show(number, f"{number:,} of {len(found):,} devices")
    click.echo(f"Imported the settings of {len(found)} devices: {new} new, {len(found) - new} had some already.")


def _load(line: dict[str, str]) -> tuple[str, str, dict]:
    named = NameSchema().load({name: line[name] for name in REQUIRED})
    given = {name: line[name] or None for name in SETTINGS if name in line}
    given |= {name: _number(name, given[name]) for name in NUMBERS if given.get(name)}
    return named["kind"], named["deviceId"], NewDeviceSettingsSchema().load(given)


def _number(name: str, text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        raise ValidationError("Must be a number.", name) from None


@devices.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, writable=True, path_type=Path))
@click.option("--kind", type=_KIND, help="Only those; default: both.")
def export(file: Path | None, kind: str | None) -> None:
    """Write the settings of all devices that have any as CSV, to a file or to where the output goes.

    \b
    Example:
      energy devices export fleet.csv
    """
    with file.open("w", encoding="utf-8", newline="") if file else nullcontext(sys.stdout) as output:
        writer = csv.writer(output, lineterminator="\n")
        writer.writerow(COLUMNS)
        with database() as (connection, _):
            for row in list_devices(connection, KINDS.get(kind)):
                writer.writerow([row.kind, row.device_id, *settings_fields(row).values()])


@devices.command("list")
@click.option("--kind", type=_KIND, help="Only those; default: both.")
def list_(kind: str | None) -> None:
    """Every device of which something is known, with all of it.

    \b
    Example:
      energy devices list --kind meter
    """
    with database() as (connection, _):
        rows = list(list_devices(connection, KINDS.get(kind)))
    print_table(
        ("kind", "device", "register", "heartbeat, s", "name", "site", "rated power, kW"),
        ([row.kind, row.device_id, *settings_fields(row).values()] for row in rows),
        numbers=("heartbeat, s", "rated power, kW"),
    )
