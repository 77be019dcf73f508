"""Authentication and authorization, before any view: the key of a request, its scopes and its devices.

`g.key` is the request's key, None with AUTH=off and for public operations; `g.key_id` is its id, for logs. No key, and
no part of one, is ever logged or answered.
"""

from wsgiref.types import WSGIEnvironment

from flask import Flask, Response, current_app, g, request

from models.access.bindings import Binding
from models.access.keyring import KeyRing, KeysUnknown
from models.access.keys import ADMIN, Key
from webapp.http.errors import ApiError, error_response
from webapp.http.operations import declared
from webapp.http.resources import current_resources

OTHER_DEVICES = "This key is bound to other devices"


def init_app(app: Flask) -> None:
    app.extensions["keyring"] = KeyRing(app.extensions["resources"].database)
    app.before_request(_authorize)


def binding() -> Binding | None:
    """The devices that this request may access; None: all of them."""
    key: Key | None = g.key
    return key.binding if key else None


def allows(*scopes: str) -> bool:
    """Whether the key of this request has one of the scopes."""
    key: Key | None = g.key
    return key is None or key.allows(scopes)


def covers(*device_ids: str) -> bool:
    """Whether the key of this request may access the devices."""
    bound = binding()
    return bound is None or all(map(bound.covers, device_ids))


def require_devices(*device_ids: str) -> None:
    """Raises ApiError 403 if the key is bound to other devices."""
    if not covers(*device_ids):
        raise ApiError(403, OTHER_DEVICES)


def _authorize() -> Response | None:
    g.key, g.key_id = None, ""
    if request.endpoint is None or request.method == "OPTIONS":  # answered 404, 405, or with the methods of the path
        return None
    operation = declared(request.endpoint)
    # A view without a declaration is for admins with a key for all devices.
    scopes = operation.scopes if operation else (ADMIN,)
    if not scopes or current_resources().settings.auth == "off":
        return None
    text = sent_key(request.environ)
    try:
        key = current_app.extensions["keyring"].find(text) if text else None
    except KeysUnknown:
        return error_response(503, "The keys can't be looked up yet; nothing was accepted, try again later")
    if key is None:
        # One text for all reasons: it does not disclose which keys exist or existed.
        response = error_response(401, "Send a valid API key: `Authorization: Bearer <key>` or `X-API-Key: <key>`")
        response.headers["WWW-Authenticate"] = "Bearer"
        return response
    g.key, g.key_id = key, key.id
    if not key.allows(scopes):
        raise ApiError(403, f"This key lacks the scope {' or '.join(f'`{scope}`' for scope in scopes)}")
    if key.binding and (operation is None or operation.all_devices):
        raise ApiError(403, "This key is bound to some devices; the answer covers all")
    return None


def sent_key(environ: WSGIEnvironment) -> str | None:
    """The key in either header; None if there is none, or if the two differ."""
    sent = set()
    if (authorization := environ.get("HTTP_AUTHORIZATION")) is not None:
        scheme, _, credentials = authorization.strip().partition(" ")
        sent.add(credentials.strip() if scheme.lower() == "bearer" else "")
    if (api_key := environ.get("HTTP_X_API_KEY")) is not None:
        sent.add(api_key.strip())
    return sent.pop() if len(sent) == 1 else None
