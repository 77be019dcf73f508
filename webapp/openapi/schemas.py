"""JSON Schemas of the document: of answers from their msgspec types, of requests from their marshmallow schemas."""

from typing import Any

import msgspec
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema, fields

from webapp.http.fields import Number, Timestamp

REFERENCE = "#/components/schemas/{name}"


class RequestConverter(OpenAPIConverter):
    def schema2jsonschema(self, schema: Schema) -> dict[str, Any]:
        return {"description": schema.__doc__, **super().schema2jsonschema(schema)}


class Requests(MarshmallowPlugin):
    """Makes a component of each marshmallow schema in the document: its name without `Schema`, and its docstring."""

    Converter = RequestConverter
    converter: RequestConverter

    def __init__(self) -> None:
        super().__init__(schema_name_resolver=_component_name)

    def init_spec(self, spec: APISpec) -> None:
        super().init_spec(spec)
        self.converter.map_to_openapi_type(Number, "number", None)
        self.converter.map_to_openapi_type(Timestamp, "string", "date-time")
        self.converter.add_attribute_function(_boolean_words)


def _component_name(schema: type[Schema] | Schema) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return kind.__name__.removesuffix("Schema")


def _boolean_words(_: Any, field: fields.Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """A Boolean stands in query strings only: these words, and no others."""
    if not isinstance(field, fields.Boolean):
        return {}
    words = {"type": "string", "enum": sorted(map(str, field.truthy | field.falsy), reverse=True)}
    default = ret.pop("default", None)
    return words if default is None else words | {"default": str(default).lower()}


def json_type(spec: APISpec, kind: Any) -> dict[str, Any]:
    """The JSON Schema of a msgspec type; the objects in it become components."""
    (schema,), components = msgspec.json.schema_components([kind], ref_template=REFERENCE)
    for name, component in components.items():
        if spec.components.schemas.setdefault(name, component) != component:
            raise ValueError(f"two types of answers are called {name}")
    return schema


def query_parameters(requests: Requests, schema: type[Schema]) -> list[dict[str, Any]]:
    parameters = []
    for key, field in schema().fields.items():
        described = _in_a_query(requests.converter.field2property(field))
        description = described.pop("description", "")
        if not field.required:
            described.pop("example", None)  # Swagger UI fills in each example: only where a value is required
        parameters.append(
            {
                "name": field.data_key or key,
                "in": "query",
                "required": field.required,
                "description": description,
                "schema": described,
            }
        )
    return parameters


def _in_a_query(described: dict[str, Any]) -> dict[str, Any]:
    """A query string has no null: a parameter that is None to the schema is absent in a request."""
    if isinstance(described["type"], list):
        described["type"] = described["type"][0]
    if described.get("default", ...) is None:
        del described["default"]
    return described
