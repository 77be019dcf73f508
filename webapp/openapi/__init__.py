"""The OpenAPI document at /openapi.json, and the same to browse at /docs/."""

import msgspec
from flask import Blueprint, Flask, Response, current_app, make_response
from flask.sansio.blueprints import BlueprintSetupState
from flask_swagger_ui import get_swaggerui_blueprint

from webapp.http.operations import PUBLIC, Answer, operation
from webapp.openapi.document import build_document

_UI = {
    "app_name": "Energy Ingestion Engine",
    "layout": "BaseLayout",
    "docExpansion": "list",
    "defaultModelsExpandDepth": 0,
    "displayRequestDuration": True,
    "tryItOutEnabled": True,
    # By default the page calls validator.swagger.io; it must work without the internet, and disclose nothing.
    "validatorUrl": None,
    "oauth2RedirectUrl": "/docs/oauth2-redirect.html",  # else made from the request's Host header
}

bp = Blueprint("openapi", __name__)
swagger_ui = get_swaggerui_blueprint("/docs", "/openapi.json", _UI)


@bp.get("/openapi.json")
@operation(
    "Service",
    "Show this document",
    scopes=PUBLIC,
    answers={200: Answer("OpenAPI 3.1", media={"application/json": {"type": "object"}})},
)
def get_openapi() -> Response:
    return Response(current_app.extensions["openapi"], mimetype="application/json")


@swagger_ui.record_once
def _declare_pages(state: BlueprintSetupState) -> None:
    """The pages of Swagger UI are public, and not in the document."""
    show = state.app.view_functions["swagger_ui.show"]

    @operation("", "", scopes=PUBLIC, documented=False)
    def get_page(path: str | None = None) -> Response:
        return make_response(show(path))

    state.app.view_functions["swagger_ui.show"] = get_page


def init_app(app: Flask) -> None:
    """Builds the document, with the limits of this application's settings. All routes must be registered."""
    document = build_document(app, app.extensions["resources"].settings)
    app.extensions["openapi"] = msgspec.json.encode(document)
