"""`energy doctor`: is everything so that the engine's guarantees hold?"""

import click
import msgspec
from flask.helpers import get_debug_flag
from rich.text import Text

from loadtool.terminal import console, new_table
from models.health.checks import Verdict
from models.health.doctor import Finding, examine, is_healthy
from models.health.snapshot import take_close_snapshot
from webapp.commands.database import settings_or_exit
from webapp.commands.verdicts import SYMBOLS


@click.command()
@click.option("--strict", is_flag=True, help="End with 1 for a warning too.")
@click.option("--json", "as_json", is_flag=True, help="For a program.")
def doctor(strict: bool, as_json: bool) -> None:
    """Check what the guarantees rest on; name remedies.

    Judges the servers, and this process's environment: run it with that of web and workers.
    Ends with 1 where something is wrong.

    \b
    Examples:
      energy doctor
      energy doctor --json | jq '.findings[] | select(.verdict == "wrong")'
    """
    settings = settings_or_exit()
    findings = examine(take_close_snapshot(settings), debug=get_debug_flag())
    is_well = is_healthy(findings, strict=strict)
    if as_json:
        shown = {"healthy": is_well, "findings": [finding.shown() for finding in findings]}
        click.echo(msgspec.json.encode(shown).decode())
    else:
        _print(findings)
    if not is_well:
        raise click.exceptions.Exit(1)


def _print(findings: list[Finding]) -> None:
    """How to mend it only where there is something to mend: `--json` has it of each."""
    table = new_table("", "checked", "found, and why it matters")
    for finding in findings:
        told = Text.assemble((finding.check.detail, "bold"), f"\n{finding.remedy.why}")
        if finding.check.verdict in (Verdict.WRONG, Verdict.WARNING):
            told.append(f"\nmend: {finding.remedy.mend}")
        table.add_row(SYMBOLS[finding.check.verdict], finding.name, told)
    console().print(table)
    counted = {verdict: sum(finding.check.verdict is verdict for finding in findings) for verdict in Verdict}
    click.echo(", ".join(f"{count} {verdict}" for verdict, count in counted.items() if count))
