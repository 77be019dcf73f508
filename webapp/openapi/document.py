"""The OpenAPI document, put together from the routes of an application and the declarations of their views."""

import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, NamedTuple

from apispec import APISpec
from flask import Flask

from models.settings import Settings
from models.version import VERSION
from webapp.http.answers import camel_case
from webapp.http.bounds.limits import HEADERS as LIMIT_HEADERS
from webapp.http.errors import Error
from webapp.http.operations import Answer, Operation
from webapp.openapi import shared
from webapp.openapi.schemas import Schemas

_ARGUMENT = re.compile(r"<(?:[^:>]+:)?(\w+)>")
_SETTING = re.compile(r"{([a-z_]+)}")


def build_document(app: Flask, settings: Settings) -> dict[str, Any]:
    """The document of an application that has all its routes. Descriptions show the values of `settings`."""
    schemas = Schemas()
    spec = APISpec(
        title="Energy Ingestion Engine",
        version=VERSION,
        openapi_version="3.1.0",
        plugins=[schemas],
        info={"description": shared.DESCRIPTION},
        servers=[{"url": "/"}],
        tags=[{"name": name, "description": text} for name, text in shared.TAGS.items()],
    )
    for name, scheme in shared.SECURITY_SCHEMES.items():
        spec.components.security_scheme(name, scheme)
    for name, header in shared.HEADERS.items():
        spec.components.header(name, header)
    for name, parameter in shared.PARAMETERS.items():
        spec.components.parameter(name, "header", parameter)
    for status, error in shared.ERRORS.items():
        spec.components.response(str(status), _response(schemas, error, Error))
    for route in _routes(app):
        described = {"operationId": route.name, **_operation(schemas, route.operation)}
        spec.path(route.path, operations=dict.fromkeys(route.methods, described))
    document: dict[str, Any] = _finish(spec.to_dict(), settings)
    return document


class _Route(NamedTuple):
    path: str
    methods: list[str]
    name: str
    operation: Operation


def _routes(app: Flask) -> Iterator[_Route]:
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        if isinstance(view, Operation) and view.documented:
            path = _ARGUMENT.sub(lambda found: "{" + camel_case(found[1]) + "}", rule.rule)
            methods = sorted(method.lower() for method in (rule.methods or set()) - {"HEAD", "OPTIONS"})
            yield _Route(path, methods, camel_case(rule.endpoint.rpartition(".")[2]), view)


def _operation(schemas: Schemas, operation: Operation) -> dict[str, Any]:
    in_path = [
        {"name": camel_case(name), "in": "path", "required": True, "schema": schemas.of_answer(kind)}
        for name, kind in operation.path.items()
    ]
    in_query = schemas.of_query(operation.query) if operation.query else []
    not_bound = "\n\nNot for a key that is bound to devices." if operation.all_devices else ""
    optional = {
        "description": (operation.description + not_bound).strip(),
        "requestBody": _request_body(operation),
        "deprecated": operation.deprecated,
    }
    return {
        "tags": [operation.tag],
        "summary": operation.summary,
        # apispec makes references of the names of shared parameters.
        "parameters": [*in_path, *in_query, *operation.headers, "X-Request-ID"],
        "security": [{scheme: [scope]} for scope in operation.scopes for scheme in shared.SECURITY_SCHEMES],
        "responses": _responses(schemas, operation),
        **{name: value for name, value in optional.items() if value},
    }


def _request_body(operation: Operation) -> dict[str, Any] | None:
    body = operation.body
    if body is None:
        return deepcopy(operation.request_body)  # apispec resolves its schemas in place
    examples = {name: {"summary": summary, "value": value} for name, (summary, value) in body.examples.items()}
    may_be_left_out = "" if body.required else " It may be left out, which is as good as `{}`."
    return {
        "required": body.required,
        "description": f"At most {body.max_bytes} bytes.{may_be_left_out}",
        "content": {"application/json": {"schema": body.schema, "examples": examples}},
    }


def _responses(schemas: Schemas, operation: Operation) -> dict[int, Any]:
    # apispec makes references of the names of shared errors, which are their statuses.
    responses: dict[int, Any] = {status: str(status) for status in operation.shared_errors}
    for status, described in (operation.answers or {200: operation.returns.__doc__}).items():
        answer = Answer(described) if isinstance(described, str) else described
        kind = answer.body or (Error if status >= 400 else operation.returns if status < 300 else None)
        limits = LIMIT_HEADERS if operation.scopes and status < 400 else ()
        responses[status] = _response(schemas, answer, kind, limits)
    return dict(sorted(responses.items()))


def _response(schemas: Schemas, answer: Answer, kind: Any, more_headers: tuple[str, ...] = ()) -> dict[str, Any]:
    content = {"application/json": {"schema": schemas.of_answer(kind)}} if kind else {}
    content |= {media_type: {"schema": dict(schema)} for media_type, schema in answer.media.items()}
    headers = ("X-Request-ID", *answer.headers, *more_headers)
    optional = {"content": content, "links": dict(answer.links)}
    return {
        "description": answer.description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
        **{name: value for name, value in optional.items() if value},
    }


def _finish(node: Any, settings: Settings, key: str = "") -> Any:
    """Fills in settings, and ends patterns with $, the end of the text in ECMA 262, which has no \\Z."""
    match node:
        case dict():
            return {name: _finish(child, settings, name) for name, child in node.items()}
        case list():
            return [_finish(child, settings) for child in node]
        case str() if key == "description":
            return _SETTING.sub(lambda found: _plain(getattr(settings, found[1])), node)
        case str() if key == "maxItems":
            return getattr(settings, node.strip("{}"))
        case str() if key == "pattern":
            return node.replace(r"\Z", "$")
    return node


def _plain(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
