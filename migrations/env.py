"""Runs the migrations on DATABASE_URL, one process at a time, then makes the partitions of the coming days.

Every statement waits for a lock for a few seconds only: a migration that would block a running engine fails
instead, and can be run again.
"""

import psycopg
import sqlalchemy
from alembic import context

from models.database import connection_options
from models.locks import Lock
from models.schema import metadata
from models.settings import SettingsError, load_settings
from models.storage.partitions import ensure_partitions

# Partitions are made and dropped by models/storage/partitions.py, not by migrations.
_STATEMENT_SECONDS = 600


def run() -> None:
    try:
        settings = load_settings()
    except SettingsError as error:
        raise SystemExit(f"The settings are wrong, nothing is migrated:\n{error}") from None
    options = connection_options("migrations", _STATEMENT_SECONDS)

    def connect(autocommit: bool = False) -> psycopg.Connection:
        return psycopg.connect(settings.database_url, **{**options, "autocommit": autocommit})

    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=connect, poolclass=sqlalchemy.pool.NullPool)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("set lock_timeout = '60s'"))
        connection.execute(sqlalchemy.text(f"select pg_advisory_lock({Lock.MIGRATIONS})"))
        connection.execute(sqlalchemy.text("set lock_timeout = '5s'"))
        connection.commit()
        context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
    with connect(autocommit=True) as connection:
        at_head = connection.execute("select to_regclass('meter_readings_history')").fetchone()[0]
        if at_head:
            ensure_partitions(connection, days_ahead=settings.partition_days_ahead)


run()
