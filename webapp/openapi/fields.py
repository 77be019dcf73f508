"""marshmallow fields in the words of JSON Schema: what the contract's own fields are to apispec."""

from typing import Any

from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema, fields

from webapp.http.fields import Number, Timestamp

OPENAPI_VERSION = "3.1.0"
IN_A_QUERY = (
    " ISO 8601 with a zone, such as `2026-02-10T10:30:00Z`; write `+` as `%2B`, though one lost to a space is put back."
)
_REQUIRED_EXAMPLES = {"meterId": "M001", "vehicleId": "V001", "kind": "meter"}

_converter = OpenAPIConverter(OPENAPI_VERSION, schema_name_resolver=lambda _: None, spec=None)
_converter.map_to_openapi_type(Number, "number", None)
_converter.map_to_openapi_type(Timestamp, "string", "date-time")


def _mend(_, field: fields.Field, ret: dict) -> dict:
    """Runs last, on what apispec made of a field."""
    if isinstance(field, fields.Boolean):  # of a query string: words, and no others
        words = sorted(field.truthy | field.falsy, reverse=True)
        default = ret.pop("default", None)
        told = {} if default is None else {"default": str(default).lower()}
        return {"type": "string", "enum": words, **told}
    if "pattern" in ret:  # ECMA 262 has no \Z; its $ is the end
        return {"pattern": ret["pattern"].replace(r"\Z", "$")}
    return {}


_converter.add_attribute_function(_mend)


def object_schema(schema: type[Schema], **changes: dict) -> dict:
    """The object that a schema loads, described by its docstring; `changes` adds to properties by name."""
    described = _converter.schema2jsonschema(schema())
    for name, more in changes.items():
        described["properties"][name] |= more
    return {"description": schema.__doc__, **described}


def properties(schema: type[Schema], *names: str) -> dict[str, dict]:
    """Some of a schema's properties, for an answer that repeats them."""
    return {name: _converter.field2property(schema().fields[name]) for name in names}


def query_parameters(schema: type[Schema], descriptions: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """A schema's fields as parameters; `descriptions` has words for those that have none of their own."""
    parameters = []
    for key, field in schema().fields.items():
        name = field.data_key or key
        described = _in_a_query(_converter.field2property(field))
        description = described.pop("description", "")
        # Swagger UI fills in every example: only where something must stand.
        described.pop("example", None)
        if field.required:
            described["example"] = _REQUIRED_EXAMPLES[name]
        parameters.append(
            {
                "name": name,
                "in": "query",
                "required": field.required,
                "description": (descriptions or {}).get(name, description),
                "schema": described,
            }
        )
    return parameters


def _in_a_query(described: dict) -> dict:
    """A query string has no word for null: what may be left out is None to the schema, and absent on the wire."""
    if isinstance(described["type"], list):
        described["type"] = described["type"][0]
    if described.get("default", ...) is None:
        del described["default"]
    return described
