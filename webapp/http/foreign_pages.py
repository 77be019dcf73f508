"""Refuses requests of foreign web pages while AUTH=off: a browser on this machine would send them for any page.

Browsers name the page in `Origin` or classify it in `Sec-Fetch-Site`. A page whose name was pointed at this machine
after it was loaded (DNS rebinding) looks like one of this service, but has its own name in `Host`.

With AUTH=required a page needs a key, and none of this is checked.
"""

import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit
from wsgiref.types import WSGIEnvironment

from flask import Flask, Response, request

from models.settings import Settings
from webapp.http.errors import error_response
from webapp.http.resources import current_resources

_HERE = "With AUTH=off this service answers only its own pages"


def init_app(app: Flask) -> None:
    app.before_request(_refuse_foreign_pages)


def find_refusal(environ: WSGIEnvironment, settings: Settings) -> str | None:
    """Why the request is refused, and what to do; None: it may come from no foreign page."""
    if settings.auth != "off":
        return None
    host, origin = environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
    if host and not _is_own_host(host, settings.allowed_hosts):
        return f"{_HERE}: the name in `Host` is not known. Call it by address or as localhost, or set ALLOWED_HOSTS"
    if origin is not None:
        if origin in settings.allowed_origins or _is_same(origin, host):
            return None
        return f"{_HERE}: the page in `Origin` is another one. To let it in, set CORS_ORIGINS"
    if environ.get("HTTP_SEC_FETCH_SITE") in ("cross-site", "same-site") and not _is_visit(environ):
        return f"{_HERE}: `Sec-Fetch-Site` names another one. To let it in, set CORS_ORIGINS"
    return None


def _refuse_foreign_pages() -> Response | None:
    refusal = find_refusal(request.environ, current_resources().settings)
    return error_response(403, refusal) if refusal else None


@lru_cache(maxsize=64)
def _is_own_host(host: str, allowed: str) -> bool:
    """Whether no foreign page can have this host: DNS rebinding needs a name of the attacker's.

    `allowed` is ALLOWED_HOSTS.
    """
    try:
        name = (urlsplit(f"//{host}").hostname or "").removesuffix(".")
        if name in ("localhost", *filter(None, allowed.split(","))) or name.endswith(".localhost"):
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_same(origin: str, host: str) -> bool:
    """Whether the page comes from this host. The scheme may differ: TLS ends at a proxy."""
    return origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower())


def _is_visit(environ: WSGIEnvironment) -> bool:
    """Whether a person follows a link: the page that has the link can't read what they see."""
    sent = (environ["REQUEST_METHOD"], environ.get("HTTP_SEC_FETCH_MODE"), environ.get("HTTP_SEC_FETCH_DEST"))
    return sent == ("GET", "navigate", "document")
