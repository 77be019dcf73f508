"""The service itself: its name, its health and its figures."""

from flask import Blueprint, Response, redirect, request

from models.health.readiness import check_readiness, failed_checks
from models.health.snapshot import take_snapshot
from models.version import VERSION
from webapp.engine_metrics import CONTENT_TYPE, render
from webapp.http.errors import error_response
from webapp.http.resources import current_resources

bp = Blueprint("service", __name__)


@bp.get("/")
def show_service():
    """To a browser, the documentation; to everything else, who answers here."""
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        return redirect("/docs/")
    return {"service": "Energy Ingestion Engine", "status": "running", "version": VERSION}


@bp.get("/health/live")
def show_liveness():
    return {"status": "live"}


@bp.get("/health/ready")
def show_readiness():
    checks = check_readiness(take_snapshot(current_resources()))
    shown = {name: check.shown() for name, check in checks.items()}
    if wrong := failed_checks(checks):
        errors = {name: [detail] for name, detail in wrong.items()}
        return error_response(503, f"Not ready: {', '.join(wrong)}", errors, reason="not_ready", checks=shown)
    return {"status": "ready", "checks": shown}


@bp.get("/metrics")
def show_metrics():
    return Response(render(current_resources()), content_type=CONTENT_TYPE)
