"""The HTTP side: parses, checks, answers. It holds no SQL and no Redis commands; those are in `models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from models.settings import Settings


def create_app(settings: Settings | None = None) -> Flask:
    """The whole application, with connections of its own: make it in the process that serves.

    Without `settings` they come from the environment; a wrong one ends the process and is named.
    """
    # Imported here and not above: the commands are in this package too, and need neither Flask nor the views.
    from flask import Flask

    from models.observability.logs import configure_logs
    from models.resources import connect_web
    from webapp import openapi
    from webapp.http import auth, errors, foreign_pages, headers, metrics, request_log
    from webapp.http.bounds import heavy_reads, limits, receiving
    from webapp.http.resources import new_breaker
    from webapp.ingest import fast_door
    from webapp.routes import register_routes

    settings = settings or _settings_or_exit()
    configure_logs(settings)
    app = Flask(__name__, static_folder=None)
    app.extensions["resources"] = connect_web(settings)
    app.extensions["breaker"] = new_breaker()
    # In this order.
    for each_request in (metrics, request_log, foreign_pages, fast_door, headers, errors, auth, limits, receiving):
        each_request.init_app(app)
    heavy_reads.init_app(app)
    register_routes(app)
    openapi.init_app(app)
    return app


def _settings_or_exit() -> Settings:
    from models.settings import SettingsError, load_settings

    try:
        return load_settings()
    except SettingsError as error:
        raise SystemExit(f"The settings are wrong, the service does not start:\n{error}") from None
