"""`energy doctor`: checks everything that the engine's guarantees depend on."""

import os

import click
import msgspec
from rich.text import Text

from loadtool.terminal import console, new_table
from models.health.checks import Verdict
from models.health.doctor import Finding, examine, is_healthy
from models.health.snapshot import take_detailed_snapshot
from webapp.commands.database import settings_or_exit

SYMBOLS = {
    Verdict.GOOD: Text("✓", "green"),
    Verdict.WARNING: Text("!", "yellow"),
    Verdict.WRONG: Text("✗", "bold red"),
    Verdict.UNKNOWN: Text("?", "dim"),
}


@click.command()
@click.option("--strict", is_flag=True, help="Exit with 1 for a warning too.")
@click.option("--json", "as_json", is_flag=True, help="For a program.")
def doctor(strict: bool, as_json: bool) -> None:
    """Check what the guarantees depend on; name remedies.

    Checks the servers and the environment of this command: run it with the environment of web and workers.
    Exits with 1 if something is wrong.

    \b
    Examples:
      energy doctor
      energy doctor --json | jq '.findings[] | select(.verdict == "wrong")'
    """
    settings = settings_or_exit()
    findings = examine(take_detailed_snapshot(settings), debug=_flask_debugs())
    is_good = is_healthy(findings, strict=strict)
    if as_json:
        shown = {"healthy": is_good, "findings": [finding.to_json() for finding in findings]}
        click.echo(msgspec.json.encode(shown).decode())
    else:
        _print(findings)
    if not is_good:
        raise click.exceptions.Exit(1)


def _print(findings: list[Finding]) -> None:
    """Remedies only of warnings and errors; `--json` has all."""
    table = new_table("", "checked", "found, and why it matters")
    for finding in findings:
        text = Text.assemble((finding.check.detail, "bold"), f"\n{finding.why}")
        if finding.check.verdict in (Verdict.WRONG, Verdict.WARNING):
            text.append(f"\nremedy: {finding.remedy}")
        table.add_row(SYMBOLS[finding.check.verdict], finding.name, text)
    console().print(table)
    counted = {verdict: sum(finding.check.verdict is verdict for finding in findings) for verdict in Verdict}
    click.echo(", ".join(f"{count} {verdict}" for verdict, count in counted.items() if count))


def _flask_debugs() -> bool:
    """As `flask.helpers.get_debug_flag`, without the import of Flask."""
    return os.environ.get("FLASK_DEBUG", "").lower() not in ("", "0", "false", "no")
