"""Data: settings, tables, the telemetry stream, storage, queries and rules. docs/architecture.md shows the rooms.

No module here imports Flask or Celery, or connects at import.
"""
