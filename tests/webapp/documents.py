"""Reading the OpenAPI document: its operations, and the JSON Schemas in it."""

import re
from collections.abc import Iterator

from jsonschema import Draft202012Validator, FormatChecker

METHODS = {"get", "post", "put", "patch", "delete"}


def operations(document: dict) -> Iterator[tuple[str, str, dict]]:
    """Each operation, with its path and method."""
    for path, item in document["paths"].items():
        for method in item.keys() & METHODS:
            yield path, method, item[method]


def documented_path(document: dict, path: str) -> str:
    """The template that the path matches. One without placeholders is tried first, as in Flask."""
    for template in sorted(document["paths"], key=lambda t: t.count("{")):
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
            return template
    raise AssertionError(f"{path} is not in the document")


def resolve(document: dict, node: dict) -> dict:
    while "$ref" in node:
        place = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            place = place[step]
        node = place
    return node


def validator(document: dict, schema: dict) -> Draft202012Validator:
    # With the components, so that references resolve.
    return Draft202012Validator({**schema, "components": document["components"]}, format_checker=FormatChecker())
