"""JSON Schemas of the document: of requests from their marshmallow schemas, of answers from their msgspec types."""

from typing import Any

import msgspec
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema, fields

from webapp.http.fields import Number, Timestamp


class _Converter(OpenAPIConverter):
    def schema2jsonschema(self, schema: Schema) -> dict[str, Any]:
        return {"description": schema.__doc__, **super().schema2jsonschema(schema)}


class Schemas(MarshmallowPlugin):
    """Adds each object of a request or an answer to the components, with its docstring."""

    Converter = _Converter
    converter: _Converter
    spec: APISpec

    def __init__(self) -> None:
        super().__init__(schema_name_resolver=_component_name)

    def init_spec(self, spec: APISpec) -> None:
        super().init_spec(spec)
        self.converter.map_to_openapi_type(Number, "number", None)
        self.converter.map_to_openapi_type(Timestamp, "string", "date-time")
        self.converter.add_attribute_function(_boolean_words)

    def of_answer(self, kind: Any) -> dict[str, Any]:
        """The schema of a msgspec type."""
        (schema,), components = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
        for name, component in components.items():
            if self.spec.components.schemas.setdefault(name, component) != component:
                raise ValueError(f"two types of answers are called {name}")
        return schema

    def of_query(self, schema: type[Schema]) -> list[dict[str, Any]]:
        """The parameters of a query string."""
        return [self._parameter(field.data_key or name, field) for name, field in schema().fields.items()]

    def _parameter(self, name: str, field: fields.Field[Any]) -> dict[str, Any]:
        schema = self.converter.field2property(field)
        description = schema.pop("description", "")
        # A query string has no null: a parameter that is None to the schema is absent in a request.
        if isinstance(schema["type"], list):
            schema["type"] = schema["type"][0]
        if schema.get("default", ...) is None:
            del schema["default"]
        if not field.required:
            schema.pop("example", None)  # Swagger UI fills in each example: only where a value is required
        return {
            "name": name,
            "in": "query",
            "required": field.required,
            "description": description,
            "schema": schema,
        }


def _component_name(schema: type[Schema] | Schema) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return kind.__name__.removesuffix("Schema")


def _boolean_words(_: Any, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """Booleans are in query strings only, where they are one of a few words."""
    if not isinstance(field, fields.Boolean):
        return {}
    words = {"type": "string", "enum": sorted(map(str, field.truthy | field.falsy), reverse=True)}
    default = ret.pop("default", None)
    return words if default is None else words | {"default": str(default).lower()}
