"""The key of this machine, for the simulator and the commands, where the API asks for one."""

import contextlib
import os
from pathlib import Path

import psycopg

from devstack.server import libpq_url
from models.access.keys import SCOPES, Rights, create_key, new_key_text

NAME = "make up"


def key_of(home: Path) -> str:
    """The key kept in this folder, for its owner alone; made at the first start."""
    file = home / "key"
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(new_key_text())
    return file.read_text().strip()


def admit(key: str, database_url: str) -> None:
    """Has the API know the key; a key that it knows stays as it is, were it revoked."""
    is_known = contextlib.suppress(psycopg.errors.UniqueViolation)
    with psycopg.connect(libpq_url(database_url), autocommit=True) as connection, is_known:
        create_key(connection, Rights(NAME, SCOPES), text=key)
