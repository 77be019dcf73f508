"""Operations of views that are not declared yet, and their components."""

from itertools import chain

from apispec import APISpec

from models.settings import Settings
from webapp.analytics.costs import Cost
from webapp.openapi import (
    alerts,
    components,
    ingest,
    series,
)
from webapp.openapi.schemas import json_type


def add(spec: APISpec, settings: Settings) -> None:
    found = components.schemas(settings) | series.schemas() | alerts.schemas()
    json_type(spec, Cost)
    for name, component in found.items():
        if name not in spec.components.schemas:
            spec.components.schema(name, component)
    parts = (
        ingest.operations(settings),
        series.operations(),
        alerts.operations(),
    )
    for path, method, operation in chain.from_iterable(parts):
        spec.path(path, operations={method: operation})
