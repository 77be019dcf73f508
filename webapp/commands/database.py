"""The database, for the commands that work on it."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
import psycopg

from models.database import WORKER_STATEMENT_SECONDS, connection_options
from models.settings import Settings, SettingsError, load_settings


def settings_or_exit() -> Settings:
    """Those of the environment; wrong ones end the command with their names."""
    try:
        return load_settings()
    except SettingsError as error:
        raise click.ClickException(f"The settings are wrong:\n{error}") from None


@contextmanager
def database() -> Iterator[tuple[psycopg.Connection, Settings]]:
    """A connection in autocommit mode and the settings; what goes wrong with either ends the command in clear words."""
    settings = settings_or_exit()
    options = connection_options("command", WORKER_STATEMENT_SECONDS) | {"autocommit": True}
    try:
        with psycopg.connect(settings.database_url, **options) as connection:
            yield connection, settings
    except psycopg.errors.UndefinedTable:
        raise click.ClickException("The schema is missing; run `alembic upgrade head`.") from None
    except psycopg.errors.LockNotAvailable:
        raise click.ClickException("A table stayed busy; nothing is lost, run this again.") from None
    except psycopg.Error as error:
        raise click.ClickException(f"Postgres: {str(error).strip() or type(error).__name__}") from None
