"""SQLAlchemy Core statements on psycopg connections.

Core is for create, read, update, delete and for optional conditions: a renamed column fails at import or at the
first build, not in production. COPY, the drain and the tuned analytics are written in SQL.
"""

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.rows import RowFactory, dict_row
from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql import psycopg as dialect

_DIALECT = dialect.dialect()


def render(statement: ClauseElement, values: Mapping[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
    """The statement's text, and its values by name; `values` are those of its `bindparam`s.

    JSONB values are psycopg's `Jsonb`. A list is one array: compare with `column == any_(array)`, for `in_` has no
    text before its values are known.
    """
    compiled = statement.compile(dialect=_DIALECT)
    return str(compiled), dict(compiled.construct_params(values) or {})


def run(
    connection: psycopg.Connection,
    statement: ClauseElement,
    values: Mapping[str, Any] | None = None,
    *,
    row: RowFactory[Any] = dict_row,
) -> psycopg.Cursor[Any]:
    """Executes a Core statement; its rows come as `row` makes them, dicts by default. Raises what psycopg raises."""
    text, bound = render(statement, values)
    return connection.cursor(row_factory=row).execute(text, bound)
