"""Postgres advisory locks by number: one list, so that no two purposes share a number.

Locks of one vehicle, or of one vehicle and meter, are hashes of text (models/devices/mapping.py,
models/analytics/sessions) and are not listed.
"""

from enum import IntEnum

import psycopg
from psycopg.rows import scalar_row


class Lock(IntEnum):
    MIGRATIONS = 0x6D696772  # one process migrates; held by the session
    PARTITIONS = 0x656E7267  # one process at a time creates partitions
    MARKED_UNTIL = 0x6D61726B  # shared: held by every transaction that has read `marked_until`, until its end
    ROLLUP_STEP = 0x726F6C6C  # one process at a time does a step of the roll-ups
    DIRECT_ENTRIES = 0x64697265  # one process at a time takes received times for what it stores without Redis
    ALERTS = 0x616C7274  # one process at a time evaluates alerts
    WEBHOOK = 0x686F6F6B  # one process at a time sends events


def take_lock(connection: psycopg.Connection, lock: Lock) -> None:
    """Waits for the lock and holds it until the transaction ends. Raises LockNotAvailable after lock_timeout."""
    connection.execute("select pg_advisory_xact_lock(%s)", [int(lock)])


def try_lock(connection: psycopg.Connection, lock: Lock) -> bool:
    """Whether the lock was free; then it is held until the transaction ends."""
    cursor = connection.cursor(row_factory=scalar_row)
    return bool(cursor.execute("select pg_try_advisory_xact_lock(%s)", [int(lock)]).fetchone())
