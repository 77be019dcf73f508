"""Check of stored rows that no process can read: each is refused alone, and an operator should know."""

import psycopg

from models.database import BoundedConnection
from models.health.checks import NO_POSTGRES, NO_SCHEMA, Check, good, unknown, warning
from models.health.postgres_snapshot import if_migrated
from models.health.snapshot import Snapshot, connect


def check_stored_rows(snapshot: Snapshot) -> Check:
    """Reads every key and tariff, over a connection of its own."""
    if snapshot.postgres is None:
        return NO_POSTGRES
    try:
        with connect(snapshot.settings) as connection:
            found = if_migrated(_list_unreadable, connection)
    except psycopg.Error as error:
        return unknown(f"Unknown: {type(error).__name__}")
    if found is None:
        return NO_SCHEMA
    if found:
        return warning(f"Unreadable: {'; '.join(found)}", unreadableRows=len(found))
    return good("Every key and tariff is readable", unreadableRows=0)


def _list_unreadable(connection: BoundedConnection) -> list[str]:
    # Imported here, because they take a fifth of a second, which readiness and status need not wait.
    from models.access.keys import UnreadableKey, list_keys
    from models.analytics.money.tariffs import list_unreadable_tariffs

    keys = [key for key in list_keys(connection) if isinstance(key, UnreadableKey) and not key.is_revoked]
    tariffs = list_unreadable_tariffs(connection)
    return [f"key {key.id} ({key.reason})" for key in keys] + [f"tariff of {t.site} ({t.reason})" for t in tariffs]
