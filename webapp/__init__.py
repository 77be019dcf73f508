"""The HTTP side: parses, checks, answers. It holds no SQL and no Redis commands; those are in `models`."""

from flask import Flask

from models.connections import connect_web
from models.logs import configure_logs
from models.settings import Settings, SettingsError, load_settings
from webapp import (
    alerts,
    analytics,
    auth,
    commands,
    device_settings,
    devices,
    errors,
    exports,
    express,
    fleet,
    headers,
    ingest,
    json,
    limits,
    mapping,
    metrics,
    openapi,
    requests,
    series,
    service,
    sessions,
    tariffs,
)
from webapp.extensions import new_breaker


def create_app(settings: Settings | None = None) -> Flask:
    """The application, with connections of its own: make it in the process that serves.

    Without `settings` they are those of the environment; a wrong one ends the process with its name.
    """
    app = Flask(__name__, static_folder=None)
    commands.init_app(app)
    if commands.are_looked_up():
        return app
    settings = settings or _settings_or_exit()
    configure_logs(settings)
    app.json = json.MsgspecProvider(app)
    app.extensions["connections"] = connect_web(settings)
    app.extensions["breaker"] = new_breaker()
    for module in (metrics, requests, express, headers, errors, auth, limits):
        module.init_app(app)
    for module in (
        ingest,
        devices,
        device_settings,
        mapping,
        sessions,
        analytics,
        fleet,
        series,
        tariffs,
        alerts,
        exports,
        service,
    ):
        app.register_blueprint(module.bp)
    openapi.init_app(app)
    return app


def _settings_or_exit() -> Settings:
    try:
        return load_settings()
    except SettingsError as error:
        raise SystemExit(f"The settings are wrong, the service does not start:\n{error}") from None
