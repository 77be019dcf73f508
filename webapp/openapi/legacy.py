"""Operations of views that are not declared yet, and their components."""

from apispec import APISpec

from models.settings import Settings
from webapp.openapi import components, ingest


def add(spec: APISpec, settings: Settings) -> None:
    for name, component in components.schemas(settings).items():
        if name not in spec.components.schemas:
            spec.components.schema(name, component)
    for path, method, operation in ingest.operations(settings):
        spec.path(path, operations={method: operation})
