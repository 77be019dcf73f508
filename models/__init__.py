"""Everything about data: settings, database, tables, the telemetry stream (both its ends) and the queries.

Nothing in here knows HTTP or Celery, and nothing connects at import.
"""
