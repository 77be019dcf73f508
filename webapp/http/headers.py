"""Headers that browsers heed, on every answer; and CORS, where a setting asks for it.

These few lines rather than flask-talisman and flask-cors: the headers are constants, added to the answer's list at
the very end, which costs a request nothing to speak of; and an origin is allowed by being in a set, with no patterns
to get wrong. TLS ends at the proxy, so Strict-Transport-Security is the proxy's to say.
"""

import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from urllib.parse import urlsplit, urlunsplit

from flask import Flask, Response, request
from flask.globals import request_ctx

from webapp.http.resources import current_resources

_SHARED = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
]
# An answer is data: should a browser take it for a page, that page may load and run nothing.
_API = [
    *_SHARED,
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cache-Control", "no-store"),
]
# Swagger UI: its own files, its one inline script by hash, styles that it sets as it goes, and calls to this API.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)

# No Access-Control-Allow-Credentials: there are no cookies, a page sends its key in a header of its own.
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
    app.wsgi_app = _with_headers(app.wsgi_app)
    app.after_request_funcs.setdefault("swagger_ui", []).append(_set_docs_policy)
    if app.extensions["resources"].settings.allowed_origins:
        app.before_request(_answer_preflight)
        app.after_request(_allow_origin)


def _with_headers(serve: Callable) -> Callable:
    def answer(environ: dict, start_response: Callable):
        ours = _SHARED if environ["PATH_INFO"].startswith("/docs/") else _API

        def start(status: str, headers: list, exc_info=None):
            if status.startswith("3"):
                headers = [(name, _local(value) if name == "Location" else value) for name, value in headers]
            return start_response(status, [*headers, *ours], exc_info)

        return serve(environ, start)

    return answer


def _local(location: str) -> str:
    """Without the host: werkzeug takes that from the request, where a stranger may write any."""
    parts = urlsplit(location)
    return urlunsplit(("", "", f"/{parts.path.lstrip('/')}", parts.query, ""))


def _set_docs_policy(response: Response) -> Response:
    """Runs the inline scripts of a page that was made here, by their hashes, and no other."""
    page = b"" if response.direct_passthrough else response.get_data()  # a file has none
    hashes = [f" 'sha256-{b64encode(sha256(script).digest()).decode()}'" for script in _INLINE_SCRIPT.findall(page)]
    response.headers["Content-Security-Policy"] = _DOCS_POLICY.format(hashes="".join(hashes))
    return response


def _answer_preflight() -> Response | None:
    """Before any key is asked for: browsers send none with the question whether they may send one."""
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
            # Of all routes with this path, of which the request matches one.
            adapter = request_ctx.url_adapter
            methods = set(adapter.allowed_methods()) - {"HEAD", "OPTIONS"} if adapter else ()
            response.headers["Access-Control-Allow-Methods"] = ", ".join(sorted(methods))
            response.headers.update(_PREFLIGHT)
    return response
