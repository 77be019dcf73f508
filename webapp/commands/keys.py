"""`energy keys`: who may post and read what."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click

from loadtool.terminal import print_table
from models.access import keys as api_keys
from webapp.commands.database import database
from webapp.commands.parameters import DeviceId, Duration, FiniteRange

T = TypeVar("T")

_SCOPES = click.Choice(api_keys.SCOPES)
RATE = FiniteRange(0.001, api_keys.MAX_PER_SECOND)
MAX_DEVICES = click.IntRange(1, 1_000_000)
MAX_NAME = 100  # characters
TIME = "%Y-%m-%d %H:%M"


@click.group()
def keys() -> None:
    """API keys: who may post and read what. A change takes effect within 5 seconds."""


@keys.command()
@click.option("--name", required=True, help="Its holder, for people.")
@click.option("--scope", "scopes", type=_SCOPES, multiple=True, required=True, help="May be repeated.")
@click.option(
    "--device-id", "device_ids", type=DeviceId(), multiple=True, help="Only for this device; may be repeated."
)
@click.option("--device-prefix", type=DeviceId(), help="Only for devices whose ids start with this.")
@click.option("--readings-per-second", type=RATE, help="Limit of posted readings; default: none.")
@click.option("--burst", type=click.IntRange(1), help="Readings that may come at once; default: a minute's.")
@click.option(
    "--requests-per-second",
    type=RATE,
    help="Limit on the read side; default: READ_REQUESTS_PER_SECOND.",
)
@click.option("--max-devices", type=MAX_DEVICES, help="Devices it may post for; default: KEY_MAX_DEVICES.")
@click.option("--expires", type=Duration(), help="Lifetime: 90d, 24h; default: unlimited.")
def create(name: str, scopes: tuple[str, ...], device_ids: tuple[str, ...], **rights: Any) -> None:
    """Create a key and print it, once: it can't be shown again.

    \b
    Examples:
      energy keys create --name "Depot 1" --scope ingest --device-prefix SITE1- \\
        --readings-per-second 100 --burst 600 --expires 90d
      energy keys create --name dashboard --scope read
    """
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise click.BadParameter(f"must have 1–{MAX_NAME} printable characters", param_hint="--name")
    burst, expires = rights.pop("burst"), rights.pop("expires")
    if burst and not rights["readings_per_second"]:
        raise click.UsageError("--burst needs --readings-per-second.")
    new = api_keys.Rights(name, tuple(sorted(set(scopes))), device_ids or None, readings_burst=burst, **rights)
    with database() as (connection, _):
        _print_key(api_keys.create_key(connection, new, lasts=expires))


@keys.command("list")
def list_() -> None:
    """Every key and its rights, without its secret.

    \b
    Example:
      energy keys list
    """
    with database() as (connection, _):
        found = api_keys.list_keys(connection)
    if not found:
        click.echo("There are no keys. Create one: energy keys create --help")
        return
    headers = ("id", "name", "scopes", "devices", "readings/s (burst)", "requests/s", "created (UTC)", "expires (UTC)")
    print_table((*headers, "state"), map(_row, found))


@keys.command()
@click.argument("key_id", metavar="ID")
@click.option("--overlap", type=Duration(), default="24h", show_default=True, help="How long the old key stays valid.")
@click.option("--max-devices", type=MAX_DEVICES, help="Devices the new key may post for; default: as the old one.")
def rotate(key_id: str, overlap: timedelta, max_devices: int | None) -> None:
    """Create a key with the same rights and lifetime as this one, and print it, once.

    The old key stays valid for the overlap, so that devices can get the new one meanwhile. Both share one limit.

    \b
    Example:
      energy keys rotate 3f09a2c471d8 --overlap 48h
    """
    with database() as (connection, _):
        _print_key(_usable(api_keys.rotate_key, connection, key_id, overlap=overlap, max_devices=max_devices))


@keys.command()
@click.argument("key_id", metavar="ID")
def revoke(key_id: str) -> None:
    """End a key for good, within 5 seconds. A key that replaced it, or that it replaced, stays valid.

    \b
    Example:
      energy keys revoke 3f09a2c471d8
    """
    with database() as (connection, _):
        is_revoked_now = _usable(api_keys.revoke_key, connection, key_id)
    click.echo(f"Revoked {key_id}; refused within 5 seconds." if is_revoked_now else f"{key_id} was revoked before.")


def _print_key(text: str) -> None:
    """The key alone on standard output, for `KEY=$(energy keys create …)`."""
    click.echo(f"The key {api_keys.split_key(text)[0]}. Keep it: it can't be shown again.", err=True)
    click.echo(text)


def _usable(change: Callable[..., T], *arguments: Any, **options: Any) -> T:
    try:
        return change(*arguments, **options)
    except api_keys.KeyNotUsable as error:
        raise click.ClickException(str(error)) from None


def _row(key: api_keys.StoredKey | api_keys.UnreadableKey) -> tuple[str | None, ...]:
    if isinstance(key, api_keys.UnreadableKey):
        state = "revoked" if key.is_revoked else f"unreadable, refused: {key.reason}"
        return (key.id, key.name, *[None] * 6, state)
    devices = [*(key.device_ids or ()), *([f"{key.device_prefix}…"] if key.device_prefix else [])]
    burst = f" ({key.readings_burst})" if key.readings_burst else ""
    return (
        key.id,
        key.name,
        " ".join(key.scopes),
        (", ".join(devices) or "all") + (f" (at most {key.max_devices:,})" if key.max_devices else ""),
        f"{key.readings_per_second:g}{burst}" if key.readings_per_second else None,
        f"{key.requests_per_second:g}" if key.requests_per_second else None,
        f"{key.created_at:{TIME}}",
        f"{key.expires_at:{TIME}}" if key.expires_at else None,
        f"replaced by {key.replaced_by}" if key.state == "replaced" else key.state,
    )
