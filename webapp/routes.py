"""Every route of the service."""

from flask import Flask, request
from werkzeug.exceptions import NotFound

from webapp import alerts, exports, losses, openapi, service
from webapp.analytics import fleet, fleet_vehicles, performance, series, sessions, tariffs
from webapp.devices import history, live, mapping, settings
from webapp.ingest import views as ingest

# In the order of the OpenAPI document.
BLUEPRINTS = (
    ingest.bp,
    live.bp,
    history.bp,
    settings.bp,
    mapping.bp,
    sessions.bp,
    performance.bp,
    fleet.bp,
    fleet_vehicles.bp,
    series.bp,
    tariffs.bp,
    alerts.bp,
    losses.bp,
    exports.bp,
    service.bp,
    openapi.bp,
    openapi.swagger_ui,
)


def register_routes(app: Flask) -> None:
    app.url_map.merge_slashes = False
    app.before_request(_require_plain_path)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)


def _require_plain_path() -> None:
    """A proxy's rule for /v1/… does not see //v1/…, of which Werkzeug drops a slash."""
    if request.environ["PATH_INFO"].startswith("//"):
        raise NotFound
