"""The service itself."""

from webapp.openapi.answers import answer
from webapp.openapi.components import TEXT, record, schema
from webapp.openapi.operations import Operations, operation


def operations() -> Operations:
    name = {"service": {"type": "string", "const": "Energy Ingestion Engine"}, "version": TEXT}
    running = record("Who answers here.", {**name, "status": {"type": "string", "const": "running"}})
    live = record("This process answers.", {"status": {"type": "string", "const": "live"}})
    service = {
        "/": operation(
            "Service",
            "getService",
            "Show who answers here",
            {
                200: answer("Name and version", running),
                302: answer("To a browser: the documentation", {"text/html": {"schema": TEXT}}, ("Location",)),
            },
        ),
        "/health/live": operation(
            "Service", "getLiveness", "Does this process answer?", {200: answer("It does", live)}
        ),
        "/health/ready": operation(
            "Service",
            "getReadiness",
            "Do Postgres, Redis, beat and the workers do their part, and do readings move?",
            {
                200: answer("All is well (a load balancer should ask /health/live)", schema("Ready")),
                503: answer("Something is not; `errors` names it", schema("NotReady"), ("Retry-After",)),
            },
        ),
        "/metrics": operation(
            "Service",
            "getMetrics",
            "Show the figures for Prometheus",
            {200: answer("In Prometheus' text format", {"text/plain": {"schema": TEXT}})},
            needs=("read",),
            description="Not for a key that is bound to devices: the figures are those of all.",
        ),
        "/openapi.json": operation(
            "Service", "getOpenapi", "Show this document", {200: answer("OpenAPI 3.1", {"type": "object"})}
        ),
    }
    for path, shown in service.items():
        yield path, "get", shown
