"""The HTTP side: parses, checks, answers. It holds no SQL and no Redis commands; those are in `models`."""

from flask import Flask

from models.observability.logs import configure_logs
from models.resources import connect_web
from models.settings import Settings, SettingsError, load_settings
from webapp import alerts, commands, exports, openapi, service
from webapp.analytics import fleet, performance, series, sessions, tariffs
from webapp.devices import live, mapping
from webapp.devices import settings as device_settings
from webapp.http import auth, encoding, errors, headers, limits, metrics, request_log
from webapp.http.resources import new_breaker
from webapp.ingest import fast_door
from webapp.ingest import views as ingest

# What every request passes, in this order.
PASSED = (metrics, request_log, fast_door, headers, errors, auth, limits)
ANSWERED_BY = (
    ingest, live, device_settings, mapping, sessions, performance, fleet, series, tariffs, alerts, exports, service,
)  # fmt: skip


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
    app.json = encoding.MsgspecProvider(app)
    app.extensions["resources"] = connect_web(settings)
    app.extensions["breaker"] = new_breaker()
    for module in PASSED:
        module.init_app(app)
    for module in ANSWERED_BY:
        app.register_blueprint(module.bp)
    openapi.init_app(app)
    return app


def _settings_or_exit() -> Settings:
    try:
        return load_settings()
    except SettingsError as error:
        raise SystemExit(f"The settings are wrong, the service does not start:\n{error}") from None
