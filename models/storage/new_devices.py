"""Devices whose first reading was stored lately: made-up ones show as a sudden rise."""

from datetime import timedelta

import psycopg
from psycopg.rows import scalar_row

from models.readings import KINDS
from models.sql import one

NEW_WITHIN = timedelta(days=1)


def count_new_devices(connection: psycopg.Connection) -> dict[str, int]:
    """By kind, the devices whose first reading was stored within NEW_WITHIN. By {kind}_readings_live_first_stored."""
    cursor = connection.cursor(row_factory=scalar_row)
    return {
        kind.name: one(
            cursor.execute(f"select count(*) from {kind.live} where first_stored_at > now() - %s", [NEW_WITHIN])
        )
        for kind in KINDS.values()
    }
