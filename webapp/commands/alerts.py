"""`energy alerts`: list and acknowledge alerts."""

import click

from loadtool.terminal import print_table
from models.alerts.alert import KINDS, MAX_NOTE_LENGTH, OPEN, RESOLVED, STATES, acknowledge_alert, list_alerts
from webapp.commands.database import database


@click.group()
def alerts() -> None:
    """Alerts of devices: list and acknowledge them.

    Their kinds: efficiency, battery temperature, silence, implausible readings.
    """


@alerts.command("list")
@click.option("--state", type=click.Choice([*STATES, "all"]), default=OPEN, show_default=True)
@click.option("--kind", type=click.Choice(KINDS))
@click.option("--device", "device_id", help="Only those of this device.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many, the newest first.")
@click.option("--ids", "only_ids", is_flag=True, help="Print the ids alone, for `energy alerts acknowledge`.")
def list_(state: str, kind: str | None, device_id: str | None, limit: int, only_ids: bool) -> None:
    """List alerts, the newest first.

    \b
    Examples:
      energy alerts list
      energy alerts list --state all --kind efficiency --limit 200
      energy alerts list --kind silent --ids | xargs energy alerts acknowledge --note 'The depot has no power'
    """
    with database() as (connection, _):
        found = list_alerts(
            connection, limit=limit, state=None if state == "all" else state, kind=kind, device_id=device_id
        )
    if only_ids:
        for alert in found:
            click.echo(alert.id)
        return
    if not found:
        click.echo("No alerts match.")
        return
    print_table(
        ("id", "opened (UTC)", "state", "device", "message", "note"),
        (
            (
                alert.id,
                f"{alert.opened_at:%Y-%m-%d %H:%M:%S}",
                alert.state,
                f"{alert.device_kind} {alert.device_id}",
                alert.message,
                alert.note,
            )
            for alert in found
        ),
        numbers=("id",),
    )


@alerts.command("acknowledge")
@click.argument("alert_ids", type=click.IntRange(1, 2**63 - 1), metavar="ID...", nargs=-1, required=True)
@click.option("--note", help="For other people; replaces an earlier note.")
def acknowledge_(alert_ids: tuple[int, ...], note: str | None) -> None:
    """Mark alerts as seen by a person, until they are resolved.

    \b
    Example:
      energy alerts acknowledge 17 18 --note 'Charger is being replaced'
    """
    if note is not None and not 1 <= len(note) <= MAX_NOTE_LENGTH:
        raise click.UsageError(f"A note must have 1–{MAX_NOTE_LENGTH} characters.")
    failed = 0
    with database() as (connection, _):
        for alert_id in dict.fromkeys(alert_ids):
            alert = acknowledge_alert(connection, alert_id, note)
            if alert is None or alert.state == RESOLVED:
                failed += 1
                click.echo(f"{alert_id}: {'not found' if alert is None else 'is resolved'}", err=True)
            else:
                click.echo(f"{alert_id}: acknowledged, {alert.device_kind} {alert.device_id}, {alert.kind}")
    if failed:
        raise click.ClickException(f"{failed} of {len(set(alert_ids))} were not acknowledged.")
