"""Binary COPY. The only place that knows Postgres's epoch: everywhere else times are microseconds since 1970.

Binary COPY does no casts. A timestamptz is an int8 on the wire, in microseconds since 2000-01-01: sending integers
spares a datetime object for each time of each row.
"""

from collections.abc import Iterable, Mapping

import psycopg

POSTGRES_EPOCH = 946_684_800_000_000  # 2000-01-01, in microseconds since 1970-01-01
TIME = "timestamptz"


def copy_rows(connection: psycopg.Connection, table: str, types: Mapping[str, str], rows: Iterable[tuple]) -> None:
    """Appends the rows to the table; `types` names their columns in order, with the Postgres type of each.

    The value of a `timestamptz` column is an int, in microseconds since 1970, or None.
    """
    columns = [list(column) for column in zip(*rows, strict=True)]
    for place, type_ in enumerate(types.values()):
        if type_ == TIME:
            columns[place] = [None if moment is None else moment - POSTGRES_EPOCH for moment in columns[place]]
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {table} ({', '.join(types)}) FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.set_types(["int8" if type_ == TIME else type_ for type_ in types.values()])
        for row in zip(*columns, strict=True):
            copy.write_row(row)
