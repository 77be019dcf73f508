"""The schema as SQLAlchemy tables, a module a domain; `metadata` holds them all.

Migrations create the database; tests/storage/test_migrations.py asserts that they and the tables agree. Statements of
SQLAlchemy Core use the tables (models/statements.py); tuned statements are written in SQL.
"""

from models.schema import access, alerts, devices, functions, readings, rollups, sessions, stream, tariffs
from models.schema.columns import metadata

__all__ = [
    "access",
    "alerts",
    "devices",
    "functions",
    "metadata",
    "readings",
    "rollups",
    "sessions",
    "stream",
    "tariffs",
]
