"""Who asks, and may they? A request brings an API key; what it may do is decided here, before any view.

`g.key` is the key of this request, None where AUTH=off and on public paths; `g.key_id` its id, for logs. No key,
and nothing of one, is ever logged or answered.
"""

from functools import cache

from flask import Flask, Response, current_app, g, request

from models.access.bindings import Binding
from models.access.keyring import KeyRing, KeysUnknown
from models.access.keys import ADMIN, INGEST, READ
from webapp.http.errors import ApiError, error_response
from webapp.http.operations import declared
from webapp.http.resources import current_resources


def init_app(app: Flask) -> None:
    app.extensions["keyring"] = KeyRing(app.extensions["resources"].database)
    app.before_request(_admit)


@cache
def scopes_for(endpoint: str, method: str) -> tuple[str, ...]:
    """The scopes of views without a declaration, of which a request needs one."""
    blueprint = endpoint.rpartition(".")[0]
    if endpoint == "ingest.show_receipt":
        return INGEST, READ
    if blueprint == "ingest":
        return (INGEST,)
    return (READ,) if method in ("GET", "HEAD") else (ADMIN,)


def binding() -> Binding | None:
    """The devices that this request may touch; None: all of them."""
    return g.key.binding if g.key else None


def require_devices(*device_ids: str) -> None:
    """Raises ApiError 403 where the key is bound to other devices."""
    bound = binding()
    if bound and not all(map(bound.covers, device_ids)):
        raise ApiError(403, "This key is bound to other devices")


def _admit() -> Response | None:
    g.key, g.key_id = None, ""
    endpoint = request.endpoint
    if not endpoint or request.method == "OPTIONS":
        return None
    operation = declared(endpoint)
    needed = operation.scopes if operation else scopes_for(endpoint, request.method)
    if not needed or current_resources().settings.auth == "off":
        return None
    text = sent_key(request.environ)
    try:
        key = current_app.extensions["keyring"].find(text) if text else None
    except KeysUnknown:
        return error_response(503, "The keys can't be looked up yet; nothing was taken, try again later")
    if key is None:
        # The same words for every reason: nobody learns which keys there are, or were.
        response = error_response(401, "Send a valid API key: `Authorization: Bearer <key>` or `X-API-Key: <key>`")
        response.headers["WWW-Authenticate"] = "Bearer"
        return response
    g.key, g.key_id = key, key.id
    if not key.allows(needed):
        raise ApiError(403, f"This key lacks the scope {' or '.join(f'`{scope}`' for scope in needed)}")
    if key.binding and operation and operation.all_devices:
        raise ApiError(403, "This key is bound to some devices; the answer would cover all")
    return None


def sent_key(environ: dict) -> str | None:
    """The key of either header; None where there is none, or two that differ."""
    sent = set()
    if (authorization := environ.get("HTTP_AUTHORIZATION")) is not None:
        scheme, _, credentials = authorization.strip().partition(" ")
        sent.add(credentials.strip() if scheme.lower() == "bearer" else "")
    if (api_key := environ.get("HTTP_X_API_KEY")) is not None:
        sent.add(api_key.strip())
    return sent.pop() if len(sent) == 1 else None
