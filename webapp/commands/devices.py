"""`energy devices`: import, export and list the settings of devices."""

import csv
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
import psycopg
from marshmallow import ValidationError, fields, validate

from loadtool.terminal import print_table
from models.devices.settings import list_devices, set_device
from models.readings import KINDS
from webapp.commands.csv_lines import read_lines, store_lines
from webapp.commands.database import database
from webapp.devices.answers import DeviceSettings, settings_fields
from webapp.devices.settings import NewDeviceSettingsSchema
from webapp.http.fields import device_id

REQUIRED = ("kind", "deviceId")
SETTINGS = DeviceSettings.__struct_encode_fields__
COLUMNS = (*REQUIRED, *SETTINGS)
NUMBERS = ("heartbeatSeconds", "ratedPowerKw")

_KIND = click.option("--kind", type=click.Choice(list(KINDS)), help="Only this kind; default: both.")


class LineSchema(NewDeviceSettingsSchema):
    kind = fields.String(required=True, validate=validate.OneOf(list(KINDS)))
    device_id = device_id(data_key="deviceId", required=True)


@click.group()
def devices() -> None:
    """Settings of devices: register, heartbeat, name, site, power."""


@devices.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
def import_(file: Path) -> None:
    """Import settings from a CSV file: all of them, or none if a line is wrong.

    The first line names the columns: kind, deviceId, and any of register, heartbeatSeconds, name, site, ratedPowerKw.
    A column that is left out changes nothing; an empty field restores the default. The output of `export` can be
    edited and imported.

    \b
    Example:
      printf 'kind,deviceId,register,site\\nmeter,M001,cumulative,depot-north\\n' > fleet.csv
      energy devices import fleet.csv
    """
    lines = read_lines(file, REQUIRED, COLUMNS, _load, _key)
    new = store_lines(lines, _store)
    click.echo(f"Imported the settings of {len(lines)} devices: {new} new, {len(lines) - new} had some already.")


def _key(line: dict[str, Any]) -> tuple[str, str]:
    return line["kind"], line["device_id"]


def _store(connection: psycopg.Connection, line: dict[str, Any]) -> bool:
    kind, device_id = _key(line)
    settings = {name: value for name, value in line.items() if name not in ("kind", "device_id")}
    return set_device(connection, KINDS[kind], device_id, settings)[1]


def _load(line: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {name: None if name in SETTINGS and not text else text for name, text in line.items()}
    values |= {name: _number(name, values[name]) for name in NUMBERS if values.get(name)}
    loaded: dict[str, Any] = LineSchema().load(values)
    return loaded


def _number(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise ValidationError("Must be a number.", name) from None


@devices.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, writable=True, path_type=Path))
@_KIND
def export(file: Path | None, kind: str | None) -> None:
    """Write the settings of all devices that have any as CSV, to a file or to standard output.

    \b
    Example:
      energy devices export fleet.csv
    """
    with file.open("w", encoding="utf-8", newline="") if file else nullcontext(sys.stdout) as output:
        csv.writer(output, lineterminator="\n").writerows([COLUMNS, *_rows(kind)])


@devices.command("list")
@_KIND
def list_(kind: str | None) -> None:
    """Every device that has settings.

    \b
    Example:
      energy devices list --kind meter
    """
    print_table(
        ("kind", "device", "register", "heartbeat, s", "name", "site", "rated power, kW"),
        _rows(kind),
        numbers=("heartbeat, s", "rated power, kW"),
    )


def _rows(kind: str | None) -> list[tuple]:
    """The devices that have settings, in the order of COLUMNS."""
    with database() as (connection, _):
        found = list_devices(connection, KINDS[kind] if kind else None)
        return [(device.kind, device.device_id, *settings_fields(device).values()) for device in found]
