"""The API key of this machine, for the simulator and the commands if keys are required."""

import contextlib
from pathlib import Path

import psycopg

from devstack import private
from devstack.server import libpq_url
from models.access.keys import SCOPES, Rights, create_key, new_key_text

NAME = "make up"


def read_or_create_key(home: Path) -> str:
    """The key in this folder, readable by its owner only; created at the first start."""
    return private.read_or_create_secret(home / "key", new_key_text)


def register_key(key: str, database_url: str) -> None:
    """Registers the key with the engine. A key that is registered stays as it is, even if it was revoked."""
    unless_registered = contextlib.suppress(psycopg.errors.UniqueViolation)
    with psycopg.connect(libpq_url(database_url), autocommit=True) as connection, unless_registered:
        create_key(connection, Rights(NAME, SCOPES), text=key)
