"""The table and the JSON file of a run."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from bench.measured import Value, number
from loadtool.terminal import new_table

# The share of a core that other programs may use without a warning.
DISTURBING = 0.15
MET = {True: Text("yes", "green"), False: Text("no", "bold red"), None: Text("")}


def table(values: Iterable[Value]) -> Table:
    shown = new_table("figure", "measured", "goal", "met", "note", numbers=("measured", "goal"))
    for value in values:
        measured = "–" if value.value is None else f"{number(value.value)} {value.unit}".replace(" /s", "/s")
        goal = str(value.goal) if value.goal else ""
        shown.add_row(value.label, measured, goal, MET[value.is_met], Text(value.note))
    return shown


def machine_line(machine: dict[str, Any]) -> str:
    return (
        f"{machine['cores']} × {machine['cpu']}, {machine['memory_gib']} GiB, {machine['disk']}, "
        f"Linux {machine['kernel']}, Python {machine['python']}, Postgres {machine['postgres']}, "
        f"Redis {machine['redis']}, revision {machine['revision']}; client: {machine['client']}"
    )


def disturbance(others: dict[str, float]) -> str:
    """A warning if other programs used the machine, else nothing."""
    disturbed = {name: share for name, share in others.items() if share > DISTURBING}
    if not disturbed:
        return ""
    most = ", ".join(f"{name} {share:.0%}" for name, share in disturbed.items())
    return f"Other programs used more than {DISTURBING:.0%} of a core, so these figures are not valid: {most}"


def as_json(
    values: Iterable[Value], machine: dict[str, Any], others: dict[str, float], started: datetime, is_quick: bool
) -> str:
    """Every value with its unit, goal and samples; a goal is {"least": …} or {"most": …}."""
    figures = []
    for value in values:
        result = asdict(value) | {"samples": list(value.samples), "met": value.is_met}
        result["goal"] = {side: bound for side, bound in (result["goal"] or {}).items() if bound is not None} or None
        figures.append(result)
    whole = {"started": started.isoformat(), "quick": is_quick, "machine": machine, "other_programs": others}
    whole["figures"] = figures
    return json.dumps(whole, indent=1)


def write(folder: Path, text: str, started: datetime) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / f"{started:%Y-%m-%dT%H%M%SZ}.json"
    file.write_text(text + "\n")
    return file
