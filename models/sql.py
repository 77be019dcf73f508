"""Statements in files, and the one row of a statement that always has one. Core statements: models/statements.py."""

import re
from pathlib import Path
from typing import TypeVar

import psycopg

T = TypeVar("T")


def one(cursor: psycopg.Cursor[T]) -> T:
    """The first row of a statement that always returns one. Raises LookupError if it returned none."""
    row = cursor.fetchone()
    if row is None:
        raise LookupError("the statement returned no row")
    return row


def read_sql(module_file: str, name: str) -> str:
    """The statement in `name`.sql beside the module, as psycopg takes it.

    The file is a script for psql, and runs there as it is: `:'name'` is a value, for which psycopg gets `%(name)s`,
    and a `\\set` line has an example of it. A piece of SQL is `:name`; it stays as it is, see `with_pieces`.
    """
    text = Path(module_file).with_name(f"{name}.sql").read_text()
    statement = re.sub(r"^(\\set|\s*--).*\n", "", text, flags=re.MULTILINE).rstrip("\n;").replace("%", "%%")
    return re.sub(r":'(\w+)'", r"%(\1)s", statement)


def with_pieces(statement: str, **pieces: str) -> str:
    """The statement with SQL in the place of each `:name`."""
    return re.sub(rf"(?<!:):({'|'.join(pieces)})\b", lambda found: pieces[found[1]], statement)
