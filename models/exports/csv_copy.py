"""Export of history as CSV: one COPY, in constant memory, as fast as Postgres writes it.

An export is a snapshot of history at its start. It holds every submission, repeats and corrections too. Their order is
the one that needs no sort: by day (UTC), and within a day as they were stored; with named devices, by device and time.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from threading import Timer
from typing import Any

import psycopg
from psycopg.rows import scalar_row
from sqlalchemy import ARRAY, Text, any_, func, literal, literal_column, select

from models.access.bindings import Binding, binding_values, within_binding
from models.database import CONNECT_SECONDS, connection_options
from models.readings import Kind
from models.schema import metadata
from models.settings import Settings
from models.sql import one
from models.statements import render, where

BLOCK_BYTES = 256 * 1024
# A backend is terminated this long after its statement should have ended.
PATIENCE_SECONDS = 5
_ROLE = "export"
_APPLICATION = f"energy-{_ROLE}"
# A format for to_char: fixed width, to the microsecond, faster than editing a time's text. The session is in UTC.
_RFC3339 = """'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""
# Scans start at the beginning of the table, which keeps its order, and use one process, which leaves cores to ingest.
_SESSION = "-c synchronize_seqscans=off -c max_parallel_workers_per_gather=0 -c default_transaction_read_only=on"


@dataclass(frozen=True)
class Selection:
    """Readings of a kind with start <= timestamp < end: of `device_ids`, or if empty of all within the binding."""

    kind: Kind
    start: datetime
    end: datetime
    device_ids: tuple[str, ...] = ()
    binding: Binding | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns in the export, as in the HTTP contract."""
        return (self.kind.device_field, "timestamp", "receivedAt", *self.kind.value_fields)


@contextmanager
def export_connection(settings: Settings) -> Iterator[psycopg.Connection]:
    """A connection outside the pool, which is for short queries: an export may take an hour.

    It is closed EXPORT_SECONDS from now at the latest. Raises psycopg.OperationalError.
    """
    options = connection_options(_ROLE, settings.export_seconds)
    options["options"] += f" {_SESSION}"
    with psycopg.connect(settings.database_url, **options) as connection:
        # While a backend waits for its client to read, neither statement_timeout nor a cancel ends it.
        pid = connection.info.backend_pid
        watchdog = Timer(settings.export_seconds + PATIENCE_SECONDS, terminate_export, [settings, pid])
        watchdog.daemon = True
        watchdog.start()
        try:
            yield connection
        finally:
            watchdog.cancel()


def estimate_rows(connection: psycopg.Connection, selection: Selection) -> int:
    """About how many readings there will be: the planner's estimate from the partitions' statistics."""
    query, values = _query(selection)
    plans = one(connection.cursor(row_factory=scalar_row).execute(f"explain (format json) {query}", values))
    return plans[0]["Plan"]["Plan Rows"]


def copy_csv(connection: psycopg.Connection, selection: Selection, *, header: bool) -> Generator[bytes]:
    """CSV in blocks of whole lines; times are RFC 3339 in UTC, an unknown value is empty.

    Closed early, it cancels the query. Raises psycopg.OperationalError, at any block.
    """
    query, values = _query(selection)
    with (
        connection.cursor() as cursor,
        cursor.copy(f"copy ({query}) to stdout (format csv, header {header})", values) as lines,
    ):
        block = bytearray()
        for line in lines:
            block += line
            if len(block) >= BLOCK_BYTES:
                yield bytes(block)
                block.clear()
        if block:
            yield bytes(block)


def _query(selection: Selection) -> tuple[str, dict[str, Any]]:
    """The text of the select and its values; its columns are those of `selection.columns`."""
    history = metadata.tables[selection.kind.history].c
    device = history[selection.kind.device_column]
    times = [func.to_char(time, literal_column(_RFC3339)) for time in (history.recorded_at, history.received_at)]
    columns = (device, *times, *(history[name] for name in selection.kind.value_columns))
    statement = select(*(column.label(name) for column, name in zip(columns, selection.columns, strict=True))).where(
        history.recorded_at >= selection.start,
        history.recorded_at < selection.end,
        where(within_binding(device), binding_values(selection.binding)),
    )
    if selection.device_ids:
        # Index: {kind}_readings_history_covering, in its own order.
        ids = literal(sorted(set(selection.device_ids)), ARRAY(Text))
        statement = statement.where(device == any_(ids)).order_by(device, history.recorded_at, history.received_at)
    text, constants = render(statement)
    return text, constants | binding_values(selection.binding)


def terminate_export(settings: Settings, pid: int) -> None:
    """Ends the backend of an export, also while it waits for its client to read."""
    with suppress(psycopg.Error), psycopg.connect(settings.database_url, connect_timeout=CONNECT_SECONDS) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where pid = %s and application_name = %s",
            [pid, _APPLICATION],
        )
