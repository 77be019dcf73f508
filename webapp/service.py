"""The service itself: its name, its health and its metrics."""

import math
import threading
import time
from typing import Annotated, Literal

from flask import Blueprint, Response, current_app, redirect, request
from flask.sansio.blueprints import BlueprintSetupState
from msgspec import Meta
from werkzeug.wrappers import Response as AnyResponse

from models.access.keys import READ
from models.health.checks import Check as FoundCheck
from models.health.checks import Verdict
from models.health.readiness import check_readiness, failed_checks
from models.health.snapshot import take_snapshot
from models.resources import Resources
from models.version import VERSION
from webapp.engine_metrics import CONTENT_TYPE, render
from webapp.http.answers import JsonObject
from webapp.http.errors import Error, FieldErrors, error_response
from webapp.http.operations import PUBLIC, Answer, operation
from webapp.http.resources import current_resources

bp = Blueprint("service", __name__)

LOOK_SECONDS = 1.0
STALE_SECONDS = 10.0  # a look this old is answered to nobody


class Service(JsonObject):
    """The name and version of the service."""

    service: Literal["Energy Ingestion Engine"]
    status: Literal["running"]
    version: str


class Live(JsonObject):
    """This process answers."""

    status: Literal["live"]


class Check(JsonObject):
    """The state of one part."""

    ok: Annotated[bool | None, Meta(description="null: unknown, because another part is unavailable")]
    detail: Annotated[str, Meta(description="for a person")]
    figures: Annotated[dict[str, float | str], Meta(description="for a program; units are in the names")]


class Checks(JsonObject):
    """Each part by name, in the order of cause: what comes first explains what comes later."""

    disk: Check
    postgres: Check
    connections: Check
    transactions: Check
    slots: Check
    migrations: Check
    partitions: Check
    redis: Check
    durability: Check
    backlog: Check
    drain: Check
    stream: Check
    losses: Check
    broker: Check
    beat: Check
    workers: Check
    keys: Check
    threads: Check
    rollups: Check


Warnings = Annotated[FieldErrors, Meta(description="what works at a cost, and the remedy, by part")]


class Ready(JsonObject):
    """All parts work."""

    status: Literal["ready"]
    warnings: Warnings
    checks: Checks


class NotReady(Error, kw_only=True):
    """An error with the state of each part."""

    errors: FieldErrors
    warnings: Warnings
    checks: Checks


class RecentChecks:
    """The checks of readiness, at most LOOK_SECONDS old: strangers may ask, and each look is ten queries."""

    def __init__(self, seconds: float = LOOK_SECONDS):
        self.seconds = seconds
        self._looking = threading.Lock()
        self._found: dict[str, FoundCheck] = {}
        self._looked_at = -math.inf

    def get(self, resources: Resources) -> dict[str, FoundCheck]:
        if self._age() < self.seconds:
            return self._found
        # While a thread looks, which may take seconds, others get what was found before.
        if self._looking.acquire(blocking=self._age() > STALE_SECONDS):
            try:
                if self._age() >= self.seconds:
                    self._found = check_readiness(take_snapshot(resources))
                    self._looked_at = time.monotonic()
            finally:
                self._looking.release()
        return self._found

    def _age(self) -> float:
        return time.monotonic() - self._looked_at


@bp.record_once
def _create_checks(state: BlueprintSetupState) -> None:
    state.app.extensions["readiness"] = RecentChecks()


@bp.get("/")
@operation(
    "Service",
    "Show the name and version of the service",
    scopes=PUBLIC,
    answers={
        200: "Name and version",
        302: Answer("To a browser: the documentation", media={"text/html": {"type": "string"}}, headers=("Location",)),
    },
)
def get_service() -> Service | AnyResponse:
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        return redirect("/docs/")
    return Service(service="Energy Ingestion Engine", status="running", version=VERSION)


@bp.get("/health/live")
@operation("Service", "Check that this process answers", scopes=PUBLIC)
def get_liveness() -> Live:
    return Live(status="live")


@bp.get("/health/ready")
@operation(
    "Service",
    "Check that Postgres, Redis, beat and the workers work, and that readings are stored",
    scopes=PUBLIC,
    answers={
        200: "Ready (a load balancer should use /health/live)",
        503: Answer("Not ready; `errors` names the parts", NotReady, headers=("Retry-After",)),
    },
)
def get_readiness() -> Ready | Response:
    """The state is up to a second old."""
    found = current_app.extensions["readiness"].get(current_resources())
    checks = Checks(
        **{name: Check(ok=check.ok, detail=check.detail, figures=check.figures) for name, check in found.items()}
    )
    warnings = {name: [detail] for name, detail in failed_checks(found, Verdict.WARNING).items()}
    if failed := failed_checks(found):
        errors = {name: [detail] for name, detail in failed.items()}
        return error_response(
            503,
            f"Not ready: {', '.join(failed)}",
            errors,
            reason="not_ready",
            shape=NotReady,
            checks=checks,
            warnings=warnings,
        )
    return Ready(status="ready", warnings=warnings, checks=checks)


@bp.get("/metrics")
@operation(
    "Service",
    "Show the metrics for Prometheus",
    scopes=(READ,),
    all_devices=True,
    answers={200: Answer("In Prometheus' text format", media={"text/plain": {"type": "string"}})},
)
def get_metrics() -> Response:
    return Response(render(current_resources()), content_type=CONTENT_TYPE)
