"""A bound on reads that can take DB_TIMEOUT_SECONDS, such as long sessions at shared meters.

They get half of the pool at a time, those of one key a quarter: other reads have connections left.
"""

from contextlib import AbstractContextManager

from flask import Flask, current_app

from webapp.http.bounds.places import Places, current_sender

PATIENCE_SECONDS = 2.0


def init_app(app: Flask) -> None:
    pool_size = app.extensions["resources"].settings.db_pool_size
    app.extensions["heavy_reads"] = Places(
        "reads of sessions", max(1, pool_size // 2), max(1, pool_size // 4), PATIENCE_SECONDS
    )


def heavy_read() -> AbstractContextManager[None]:
    """To be entered before a connection is taken, which a read that waits must not hold. Raises NoPlace."""
    places: Places = current_app.extensions["heavy_reads"]
    return places.held(current_sender())
