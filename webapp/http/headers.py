"""Security headers on every answer, and CORS for the origins in CORS_ORIGINS.

Without flask-talisman and flask-cors: the headers are constants, appended at the very end at no measurable cost, and an
origin is compared with a set, without patterns. TLS ends at the proxy, which sends Strict-Transport-Security.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, Response, request
from flask.globals import request_ctx

from webapp.http.resources import current_resources

_SHARED = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
]
# An answer is data: a browser that takes it for a page may load and run nothing.
_API = [
    *_SHARED,
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cache-Control", "no-store"),
]
# Swagger UI: its own files, its one inline script by hash, inline styles, and calls to this API.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
Headers = list[tuple[str, str]]
_INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)

# No Access-Control-Allow-Credentials: there are no cookies; a page sends its key in a header.
_PREFLIGHT = {
    "Access-Control-Allow-Headers": "Authorization, X-API-Key, Content-Type, Content-Encoding, Idempotency-Key, "
    "X-Request-ID",
    "Access-Control-Max-Age": "600",  # seconds
}
_EXPOSED = (
    "X-Request-ID, Retry-After, Idempotent-Replay, Content-Disposition, "
    "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset"
)


def init_app(app: Flask) -> None:
    app.wsgi_app = _with_headers(app.wsgi_app)  # type: ignore[method-assign]  # as Flask documents it
    app.after_request(_empty_redirect)
    app.after_request_funcs.setdefault("swagger_ui", []).append(_set_docs_policy)
    if app.extensions["resources"].settings.allowed_origins:
        app.before_request(_answer_preflight)
        app.after_request(_allow_origin)


def _with_headers(serve: WSGIApplication) -> Callable[..., Iterable[bytes]]:
    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        added = _SHARED if environ["PATH_INFO"].startswith("/docs/") else _API

        def start(status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
            if status.startswith("3"):
                headers = [(name, _local(value) if name == "Location" else value) for name, value in headers]
            return start_response(status, [*headers, *added], exc_info)

        return serve(environ, start)

    return answer


def _empty_redirect(response: Response) -> Response:
    """Werkzeug's body has the address with the host that the request named; that of `Location` is removed later."""
    if "Location" in response.headers:
        response.set_data(b"")
    return response


def _local(location: str) -> str:
    """Without the host: werkzeug takes that from the request, in which a client may write any."""
    parts = urlsplit(location)
    return urlunsplit(("", "", f"/{parts.path.lstrip('/')}", parts.query, ""))


def _set_docs_policy(response: Response) -> Response:
    """Allows the inline scripts of a page that this service rendered, by their hashes, and no others."""
    page = b"" if response.direct_passthrough else response.get_data()  # static files have no inline scripts
    hashes = [f" 'sha256-{b64encode(sha256(script).digest()).decode()}'" for script in _INLINE_SCRIPT.findall(page)]
    response.headers["Content-Security-Policy"] = _DOCS_POLICY.format(hashes="".join(hashes))
    return response


def _answer_preflight() -> Response | None:
    """Runs before webapp.http.auth: a browser sends no key with a preflight."""
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        return Response(status=204)
    return None


def _allow_origin(response: Response) -> Response:
    response.vary.add("Origin")
    origin = request.headers.get("Origin")
    if origin in current_resources().settings.allowed_origins:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = _EXPOSED
        if request.method == "OPTIONS":
            # Several routes may have this path; the request is matched to one of them.
            adapter = request_ctx.url_adapter
            methods = set(adapter.allowed_methods()) - {"HEAD", "OPTIONS"} if adapter else ()
            response.headers["Access-Control-Allow-Methods"] = ", ".join(sorted(methods))
            response.headers.update(_PREFLIGHT)
    return response
