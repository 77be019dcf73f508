"""`energy keys`: who may post and read what."""

import re
from datetime import timedelta
from typing import Any

import click

from loadtool.terminal import print_table
from models.access.keys import SCOPES, KeyNotUsable, Rights, create_key, list_keys, revoke_key, rotate_key, split_key
from webapp.commands.database import database
from webapp.http.fields import DEVICE_ID

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
MAX_DAYS = 36_500
MAX_NAME = 100  # characters
TIME = "%Y-%m-%d %H:%M"


class Duration(click.ParamType):
    """Such as 90d, 24h, 15m, 30s."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        parsed = re.fullmatch(r"(\d{1,9})([smhd])", value)
        span = timedelta(**{_UNITS[parsed[2]]: int(parsed[1])}) if parsed else None
        if span is None or span > timedelta(days=MAX_DAYS):
            self.fail(f"{value!r} is no duration of up to {MAX_DAYS} days; write 90d, 24h, 15m or 30s", param, context)
        return span


class DeviceId(click.ParamType):
    name = "id"

    def convert(self, value: str, param: click.Parameter | None, context: click.Context | None) -> str:
        if not DEVICE_ID.match(value):
            self.fail(f"{value!r} can't begin or be a device's id: 1–64 of A-Z a-z 0-9 . _ : -", param, context)
        return value


@click.group()
def keys() -> None:
    """API keys: who may post and read what. A change takes effect within 5 seconds."""


@keys.command()
@click.option("--name", required=True, help="Whose it is, for people.")
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True, help="May be repeated.")
@click.option(
    "--device-id", "device_ids", type=DeviceId(), multiple=True, help="For this device only; may be repeated."
)
@click.option("--device-prefix", type=DeviceId(), help="For devices only whose ids begin like this.")
@click.option("--readings-per-second", type=click.FloatRange(0.001), help="What it may post; default: no limit.")
@click.option("--burst", type=click.IntRange(1), help="Readings that may come at once; default: a minute's.")
@click.option("--requests-per-second", type=click.FloatRange(0.001), help="What it may ask for.")
@click.option("--expires", type=Duration(), help="When it ends, from now: 90d, 24h; default: never.")
def create(name: str, scopes: tuple[str, ...], device_ids: tuple[str, ...], **rights: Any) -> None:
    """Make a key and print it, once: it can't be shown again.

    \b
    Examples:
      energy keys create --name "Depot 1" --scope ingest --device-prefix SITE1- \\
        --readings-per-second 100 --burst 600 --expires 90d
      energy keys create --name dashboard --scope read
    """
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise click.BadParameter(f"1–{MAX_NAME} printable characters, please", param_hint="--name")
    burst, expires = rights.pop("burst"), rights.pop("expires")
    if burst and not rights["readings_per_second"]:
        raise click.UsageError("--burst goes with --readings-per-second.")
    given = Rights(name, tuple(sorted(set(scopes))), device_ids or None, readings_burst=burst, **rights)
    with database() as (connection, _):
        _show(create_key(connection, given, lasts=expires))


@keys.command("list")
def list_() -> None:
    """Every key and its rights, without its secret.

    \b
    Example:
      energy keys list
    """
    with database() as (connection, _):
        rows = list_keys(connection)
    if not rows:
        click.echo("There are no keys. Make one: energy keys create --help")
        return
    headers = ("id", "name", "scopes", "devices", "readings/s (burst)", "requests/s", "created (UTC)", "expires (UTC)")
    print_table((*headers, "state"), map(_row, rows))


@keys.command()
@click.argument("key_id", metavar="ID")
@click.option("--overlap", type=Duration(), default="24h", show_default=True, help="How long the old one goes on.")
def rotate(key_id: str, overlap: timedelta) -> None:
    """Make a key that takes the place of this one, with the same rights and for as long a time, and print it, once.

    The old one goes on for the overlap, so that devices can be told the new one meanwhile. Both draw on one limit.

    \b
    Example:
      energy keys rotate 3f09a2c471d8 --overlap 48h
    """
    with database() as (connection, _):
        _show(_usable(rotate_key, connection, key_id, overlap=overlap))


@keys.command()
@click.argument("key_id", metavar="ID")
def revoke(key_id: str) -> None:
    """End a key for good: refused everywhere within 5 seconds. A key that replaced it, or that it replaced, goes on.

    \b
    Example:
      energy keys revoke 3f09a2c471d8
    """
    with database() as (connection, _):
        is_new = _usable(revoke_key, connection, key_id)
    click.echo(f"Revoked {key_id}; refused within 5 seconds." if is_new else f"{key_id} was revoked before.")


def _show(text: str) -> None:
    """The key alone on standard output, for `KEY=$(energy keys create …)`."""
    click.echo(f"The key {split_key(text)[0]}; keep it now, it can't be shown again:", err=True)
    click.echo(text)


def _usable(change, *arguments, **options):
    try:
        return change(*arguments, **options)
    except KeyNotUsable as error:
        raise click.ClickException(str(error)) from None


def _row(key: dict) -> tuple:
    devices = [*(key["device_ids"] or ()), *([f"{key['device_prefix']}…"] if key["device_prefix"] else [])]
    rate, burst = key["readings_per_second"], key["readings_burst"]
    return (
        key["id"],
        key["name"],
        " ".join(key["scopes"]),
        ", ".join(devices) or "all",
        rate and f"{rate:g}{f' ({burst})' if burst else ''}",
        key["requests_per_second"] and f"{key['requests_per_second']:g}",
        f"{key['created_at']:{TIME}}",
        key["expires_at"] and f"{key['expires_at']:{TIME}}",
        f"replaced by {key['replaced_by']}" if key["state"] == "replaced" else key["state"],
    )
