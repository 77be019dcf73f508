"""The operators' commands: `energy --help`, or `python -m webapp.commands`.

No command needs the application. Each is imported when it runs: the whole takes a second, `--help` should not.
"""

from importlib import import_module
from typing import NamedTuple

import click

from webapp.commands.environment import use_local_stack


class Listed(NamedTuple):
    module: str  # in it the command has its own name, with _ for -
    help: str  # the first line of the command's own help


SECTIONS = {
    "State of the engine": {
        "status": Listed("webapp.commands.status", "Readiness, backlog and lag, rates, workers, devices and sizes."),
        "doctor": Listed("webapp.commands.doctor", "Check what the guarantees depend on; name remedies."),
        "losses": Listed("webapp.commands.losses", "Accepted readings that a server lost: list and acknowledge."),
        "rollups": Listed("webapp.commands.rollups", "Hourly roll-ups: their watermark, and recomputing them."),
        "partitions": Listed("webapp.commands.partitions", "Partitions of history: one for each UTC day and kind."),
    },
    "Access, devices and alerts": {
        "keys": Listed("webapp.commands.keys", "API keys: who may post and read what."),
        "devices": Listed(
            "webapp.commands.devices", "Settings of devices: register, heartbeat, site; forgetting devices."
        ),
        "mapping": Listed("webapp.commands.mapping", "Which meter feeds which vehicle."),
        "sessions": Listed("webapp.commands.mapping", "Charging sessions that are over."),
        "alerts": Listed("webapp.commands.alerts", "Alerts of devices: list and acknowledge them."),
    },
    "Readings": {
        "export": Listed("webapp.commands.export", "Write history to a file, CSV or Parquet."),
        "dead-letters": Listed("webapp.commands.dead_letters", "Readings that the database refused for good."),
    },
    "Load on a running API, over HTTP": {
        "load": Listed("loadtool.load", "Post readings and check that they are stored."),
        "simulate": Listed("loadtool.simulate", "Simulate N vehicles: the last 24 hours, then a reading a minute."),
    },
}
COMMANDS = {name: listed for section in SECTIONS.values() for name, listed in section.items()}


class LazyGroup(click.Group):
    """Imports a command when it is called. The list of commands comes from SECTIONS and imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        listed = COMMANDS.get(cmd_name)
        return listed and getattr(import_module(listed.module), cmd_name.replace("-", "_"))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, listed.help) for name, listed in section.items()], col_max=14)


@click.group(cls=LazyGroup, context_settings={"max_content_width": 110})
def energy() -> None:
    """Commands for those who run the engine.

    They work on DATABASE_URL and REDIS_URL, and read the engine's other settings from the environment as well.
    Where these are not set, they find the stack that `make up` runs in this folder (.energy, or ENERGY_HOME).

    \b
    Examples:
      energy status --watch
      energy keys create --name "Depot 1" --scope ingest
      energy load steady 1000 30 --rate 500
      energy keys create --help
    """
    use_local_stack()


def main() -> None:
    energy(prog_name="energy")
