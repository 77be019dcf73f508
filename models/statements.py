"""SQLAlchemy Core statements on psycopg connections.

Core is for create, read, update, delete and for optional conditions: a renamed column fails at import or at the
first build, not in production. COPY, the drain and the tuned analytics are written in SQL.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec
import psycopg
from psycopg.rows import BaseRowFactory, RowFactory, args_row, dict_row
from sqlalchemy import ClauseElement, Column, ColumnElement, Label, and_, case, func, true
from sqlalchemy.dialects.postgresql.base import PGDialect

# Not the dialect named psycopg: it casts each parameter, while psycopg itself sends types where they matter.
_DIALECT = PGDialect(paramstyle="pyformat")
_NO_VALUES: Mapping[str, Any] = {}
_DICTS: RowFactory[Any] = dict_row

Conditions = tuple[ColumnElement[bool], ...]
T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


def render(statement: ClauseElement) -> tuple[str, dict[str, Any]]:
    """The statement's text, and its constants by name; values for its `bindparam`s are added when it runs.

    JSONB values are psycopg's `Jsonb`. A list is one array: compare with `column == any_(array)`, for `in_` has no
    text before its values are known.
    """
    compiled = _DIALECT.statement_compiler(_DIALECT, statement)
    return str(compiled), {name: bind.value for bind, name in compiled.bind_names.items() if not bind.required}


def where(optional: Conditions, given: Iterable[str]) -> ColumnElement[bool]:
    """Those of the conditions whose `bindparam`s all have a name in `given`, joined by `and`."""
    names = frozenset(given)
    return and_(true(), *(condition for condition in optional if _parameters(condition) <= names))


def _parameters(condition: ColumnElement[bool]) -> frozenset[str]:
    compiled = _DIALECT.statement_compiler(_DIALECT, condition)
    return frozenset(name for bind, name in compiled.bind_names.items() if bind.required)


class Statement:
    """A Core statement that runs often. Its text is rendered once, since that takes as long as a short query.

    Each condition in `optional` applies to the runs that give all of its `bindparam`s a value other than None. The text
    of each combination is rendered once.
    """

    def __init__(self, statement: Any, *, optional: Conditions = ()):
        names = frozenset().union(*map(_parameters, optional))

        @cache
        def render_with(given: frozenset[str]) -> tuple[str, dict[str, Any]]:
            return render(statement.where(where(optional, given)) if given else statement)

        self._names, self._render_with = names, render_with

    def render(self, values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        text, constants = self._render_with(frozenset(name for name in self._names if values.get(name) is not None))
        return text, {**constants, **values}


def rows_of(kind: type[S], columns: Iterable[ColumnElement[Any]]) -> BaseRowFactory[S]:
    """Rows of these columns as `kind`, a Struct with the same fields in the same order. Faster than class_row."""
    names = tuple(getattr(column, "name", "") for column in columns)
    if names != kind.__struct_fields__:
        raise TypeError(f"{kind.__name__} has other fields than {names}")
    return args_row(kind)


def run(
    connection: psycopg.Connection,
    statement: ClauseElement | Statement,
    values: Mapping[str, Any] = _NO_VALUES,
    *,
    row: RowFactory[T] = _DICTS,
) -> psycopg.Cursor[T]:
    """Executes a statement; its rows come as `row` makes them, dicts by default. Raises what psycopg raises."""
    text, bound = (statement if isinstance(statement, Statement) else Statement(statement)).render(values)
    return connection.cursor(row_factory=row).execute(text, bound)


def run_many(connection: psycopg.Connection, statement: Statement, rows: Iterable[Mapping[str, Any]]) -> None:
    """Executes the statement once for each mapping of values, in few round trips."""
    text, constants = statement.render(_NO_VALUES)
    connection.cursor().executemany(text, [{**constants, **values} for values in rows])


def finite(column: Column[Any]) -> Label[Any]:
    """The column of times under its name, null for an infinity: Python's datetime has none."""
    return case((func.isfinite(column), column)).label(column.name)
