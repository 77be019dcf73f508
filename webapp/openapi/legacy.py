"""Operations of views that are not declared yet, and their components."""

from itertools import chain

from apispec import APISpec

from models.settings import Settings
from webapp.openapi import (
    alerts,
    components,
    ingest,
)


def add(spec: APISpec, settings: Settings) -> None:
    found = components.schemas(settings) | alerts.schemas()
    for name, component in found.items():
        if name not in spec.components.schemas:
            spec.components.schema(name, component)
    parts = (
        ingest.operations(settings),
        alerts.operations(),
    )
    for path, method, operation in chain.from_iterable(parts):
        spec.path(path, operations={method: operation})
