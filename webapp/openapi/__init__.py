"""The OpenAPI document at /openapi.json, and the same to browse at /docs/."""

import msgspec
from flask import Flask, Response
from flask_swagger_ui import get_swaggerui_blueprint

from webapp.openapi.document import build_document

_UI = {
    "app_name": "Energy Ingestion Engine",
    "layout": "BaseLayout",
    "docExpansion": "list",
    "defaultModelsExpandDepth": 0,
    "displayRequestDuration": True,
    "tryItOutEnabled": True,
    # Left to itself the page asks validator.swagger.io; it must work without the internet, and tell nobody.
    "validatorUrl": None,
    "oauth2RedirectUrl": "/docs/oauth2-redirect.html",  # else made from the request's Host header
}


def init_app(app: Flask) -> None:
    """Builds the document once, with the limits of this application's settings. All blueprints must be registered."""
    document = msgspec.json.encode(build_document(app.extensions["resources"].settings))

    @app.get("/openapi.json")
    def show_openapi() -> Response:
        return Response(document, mimetype="application/json")

    app.register_blueprint(get_swaggerui_blueprint("/docs", "/openapi.json", _UI))
