"""`energy devices`: import, export and list the settings of devices; forget them."""

import csv
import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
import psycopg
import redis
from marshmallow import ValidationError, fields, validate

from loadtool.terminal import print_table, progress
from models.access.keys import list_keys
from models.access.known_devices import forget_devices as forget_of_keys
from models.devices.forgetting import BATCH, FoundDevice, find_devices, forget_devices
from models.devices.settings import list_devices, set_device
from models.readings import DEVICE_ID, KINDS
from models.settings import Settings
from webapp.commands.csv_lines import read_lines, store_lines
from webapp.commands.database import database
from webapp.commands.parameters import DeviceId
from webapp.devices.answers import DeviceSettings, settings_fields
from webapp.devices.settings import NewDeviceSettingsSchema
from webapp.http.fields import device_id

REQUIRED = ("kind", "deviceId")
SETTINGS = DeviceSettings.__struct_encode_fields__
COLUMNS = (*REQUIRED, *SETTINGS)
NUMBERS = ("heartbeatSeconds", "ratedPowerKw")
MAX_NAMED = 10  # devices that a message names

_KIND = click.option("--kind", type=click.Choice(list(KINDS)), help="Only this kind; default: both.")


class LineSchema(NewDeviceSettingsSchema):
    kind = fields.String(required=True, validate=validate.OneOf(list(KINDS)))
    device_id = device_id(data_key="deviceId", required=True)


@click.group()
def devices() -> None:
    """Settings of devices: register, heartbeat, site; forgetting devices."""


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
@click.argument("file", required=False, type=click.Path(dir_okay=False, writable=True, path_type=Path, allow_dash=True))
@_KIND
def export(file: Path | None, kind: str | None) -> None:
    """Write the settings of all devices that have any as CSV, to a file or to standard output.

    \b
    Example:
      energy devices export fleet.csv
    """
    named = None if file == Path("-") else file
    with named.open("w", encoding="utf-8", newline="") if named else nullcontext(sys.stdout) as output:
        csv.writer(output, lineterminator="\n").writerows([COLUMNS, *_rows(kind)])


@devices.command("list")
@_KIND
def list_(kind: str | None) -> None:
    """Every device that has settings.

    \b
    Example:
      energy devices list --kind meter
    """
    rows = _rows(kind)
    if not rows:
        click.echo("No device has settings; all have the defaults. GET /v1/meters and /v1/vehicles list all devices.")
        return
    print_table(
        ("kind", "device", "register", "heartbeat, s", "name", "site", "rated power, kW"),
        rows,
        numbers=("heartbeat, s", "rated power, kW"),
    )


def _rows(kind: str | None) -> list[tuple]:
    """The devices that have settings, in the order of COLUMNS."""
    with database() as (connection, _):
        found = list_devices(connection, KINDS[kind] if kind else None)
        return [(device.kind, device.device_id, *settings_fields(device).values()) for device in found]


@devices.command()
@click.argument("device_ids", type=DeviceId(), nargs=-1, metavar="[ID]...")
@click.option("--prefix", type=DeviceId(), help="All devices whose ids start with this.")
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Ids, one a line.")
@_KIND
@click.option("--billed", is_flag=True, help="Also devices that were mapped, charged or stand at a site.")
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(
    device_ids: tuple[str, ...],
    prefix: str | None,
    file: Path | None,
    kind: str | None,
    billed: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Delete all that is stored of some devices, for good: history, live rows, roll-ups, settings and alerts.

    Meant for devices that somebody made up. A device that was mapped to another, charged in a session or stands at a
    site is left out, since it is part of what was billed; --billed includes it, with its mappings and sessions. Their
    keys may then post for as many others. A device that goes on sending becomes known again: revoke its key first.
    An interrupted command has deleted whole batches: run it again.

    \b
    Examples:
      energy devices forget --prefix FAKE- --dry-run
      energy devices forget M001 V001 --billed
    """
    if sum(map(bool, (device_ids, prefix, file))) != 1:
        raise click.UsageError("Give ids, or --prefix, or --file.")
    ids = _read_ids(file) if file else list(device_ids)
    with database() as (connection, settings):
        kinds = [KINDS[kind]] if kind else list(KINDS.values())
        found = find_devices(connection, kinds, device_ids=ids, prefix=prefix)
        chosen = [device for device in found if billed or not device.is_billed]
        _show(found, chosen)
        if dry_run or not chosen:
            return
        if not yes:
            click.confirm(f"Delete all that is stored of {len(chosen):,} devices, for good?", abort=True)
        _forget(connection, settings, chosen)


def _read_ids(file: Path) -> list[str]:
    lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    ids = [line for line in lines if line]
    if wrong := [line for line in ids if not DEVICE_ID.match(line)]:
        raise click.ClickException(f"{file.name}: {wrong[0]!r} is not the id of a device.")
    return ids


def _show(found: Sequence[FoundDevice], chosen: Sequence[FoundDevice]) -> None:
    counts = ", ".join(f"{sum(device.kind == name for device in chosen):,} {name}s" for name in KINDS)
    click.echo(f"To be deleted: {counts}.")
    included = set(chosen)
    if left := [device.device_id for device in found if device not in included]:
        names = ", ".join(left[:MAX_NAMED]) + (", …" if len(left) > MAX_NAMED else "")
        click.echo(f"Left out, since they were mapped, charged or stand at a site (--billed): {len(left):,}: {names}")


def _forget(connection: psycopg.Connection, settings: Settings, chosen: Sequence[FoundDevice]) -> None:
    owners = [key.id for key in list_keys(connection)]
    devices = readings = alerts = 0
    with progress("deleting", len(chosen)) as show_progress:
        for kind in KINDS.values():
            ids = [device.device_id for device in chosen if device.kind == kind.name]
            for place in range(0, len(ids), BATCH):
                batch = ids[place : place + BATCH]
                # First: a command that is interrupted in between finds these devices again.
                try:
                    forget_of_keys(settings, owners, batch)
                except redis.RedisError as error:
                    raise click.ClickException(f"Redis: {error}. Nothing more was deleted; run this again.") from None
                done = forget_devices(connection, kind, batch, has_webhook=bool(settings.alert_webhook_url))
                devices, readings, alerts = devices + len(batch), readings + done.readings, alerts + done.alerts
                show_progress(devices, f"{devices:,} devices, {readings:,} readings")
    click.echo(f"Deleted {devices:,} devices with {readings:,} readings; resolved {alerts:,} alerts.")
