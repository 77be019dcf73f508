"""The operator's commands: `flask --app webapp --help`. Each opens what it needs, and only that."""

import click
from flask import Flask
from flask.cli import FlaskGroup

from loadtool import load, simulate
from webapp.commands import alerts, dead_letters, devices, doctor, export, keys, mapping, partitions, rollups, status


def init_app(app: Flask) -> None:
    for command in (
        load.load,
        simulate.simulate,
        status.status,
        doctor.doctor,
        keys.keys,
        partitions.partitions,
        dead_letters.dead_letters,
        mapping.mapping,
        devices.devices,
        rollups.rollups,
        alerts.alerts,
        export.export,
    ):
        app.cli.add_command(command)


def are_looked_up() -> bool:
    """Whether `flask` makes this application only to find a command in it.

    Then no server is connected to: `load` and `simulate` talk HTTP, from machines that know no database. It is
    not so for `flask run`, `shell` and `routes`, which ask for the application from within a command of theirs.
    """
    context = click.get_current_context(silent=True)
    return context is not None and isinstance(context.command, FlaskGroup)
