"""The OpenAPI document, put together from the routes of an application and the declarations of their views."""

import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from apispec import APISpec
from flask import Flask

from models.settings import Settings
from models.version import VERSION
from webapp.http.answers import camel_case
from webapp.http.errors import Error
from webapp.http.limits import HEADERS as LIMIT_HEADERS
from webapp.http.operations import Answer, Operation
from webapp.openapi import shared
from webapp.openapi.schemas import Requests, json_type, query_parameters

_ARGUMENT = re.compile(r"<(?:[^:>]+:)?(\w+)>")
_SETTING = re.compile(r"{([a-z_]+)}")


def build_document(app: Flask, settings: Settings) -> dict[str, Any]:
    """The document of an application with all its routes; `settings` fill in the limits that descriptions name."""
    requests = Requests()
    spec = APISpec(
        title="Energy Ingestion Engine",
        version=VERSION,
        openapi_version="3.1.0",
        plugins=[requests],
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
        spec.components.response(str(status), _response(spec, error, Error))
    for path, methods, operation, name in _routes(app):
        described = _operation(spec, operation)
        described["operationId"] = name
        described["parameters"] += query_parameters(requests, operation.query) if operation.query else []
        spec.path(path, operations=dict.fromkeys(methods, described))
    document: dict[str, Any] = _finish(spec.to_dict(), settings)
    return document


def _routes(app: Flask) -> Iterator[tuple[str, list[str], Operation, str]]:
    """The documented paths, each with its methods, its operation and the operation's name."""
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        if isinstance(view, Operation) and view.documented:
            path = _ARGUMENT.sub(lambda found: "{" + camel_case(found[1]) + "}", rule.rule)
            methods = sorted(method.lower() for method in (rule.methods or set()) - {"HEAD", "OPTIONS"})
            yield path, methods, view, camel_case(rule.endpoint.rpartition(".")[2])


def _operation(spec: APISpec, operation: Operation) -> dict[str, Any]:
    not_bound = "Not for a key that is bound to devices." if operation.all_devices else ""
    description = f"{operation.description}\n\n{not_bound}".strip()
    return {
        "tags": [operation.tag],
        "summary": operation.summary,
        **({"description": description} if description else {}),
        **({"deprecated": True} if operation.deprecated else {}),
        "parameters": [
            *(
                {"name": camel_case(name), "in": "path", "required": True, "schema": json_type(spec, kind)}
                for name, kind in operation.path.items()
            ),
            # apispec makes references of the names of components.
            *operation.headers,
            "X-Request-ID",
        ],
        **_request_body(operation),
        "security": [{scheme: [scope]} for scope in operation.scopes for scheme in shared.SECURITY_SCHEMES],
        "responses": _responses(spec, operation),
    }


def _request_body(operation: Operation) -> dict[str, Any]:
    if operation.request_body:
        return {"requestBody": deepcopy(operation.request_body)}  # apispec resolves the schemas in place
    if not operation.body:
        return {}
    body = operation.body
    examples = {name: {"summary": summary, "value": value} for name, (summary, value) in body.examples.items()}
    return {
        "requestBody": {
            "required": body.required,
            "description": f"At most {body.max_bytes} bytes."
            + ("" if body.required else " It may be left out, which is as good as `{}`."),
            "content": {"application/json": {"schema": body.schema, "examples": examples}},
        }
    }


def _responses(spec: APISpec, operation: Operation) -> dict[int, Any]:
    shared_errors = {500, *operation.errors}
    shared_errors |= {401, 403, 429, 503} if operation.scopes else set()
    shared_errors |= {422} if operation.query else set()
    shared_errors |= {400, 413, 415, 422} if operation.body else set()
    answers = operation.answers or {200: operation.returns.__doc__}
    responses: dict[int, Any] = {status: str(status) for status in shared_errors}
    for status, answer in answers.items():
        if isinstance(answer, str):
            answer = Answer(answer)
        json = answer.body or (Error if status >= 400 else operation.returns if status < 300 else None)
        limits = LIMIT_HEADERS if operation.scopes and status < 400 else ()
        responses[status] = _response(spec, answer, json, limits)
    return dict(sorted(responses.items()))


def _response(spec: APISpec, answer: Answer, json: Any, more_headers: tuple[str, ...] = ()) -> dict[str, Any]:
    content = {"application/json": {"schema": json_type(spec, json)}} if json else {}
    content |= {media_type: {"schema": dict(schema)} for media_type, schema in answer.media.items()}
    names = ("X-Request-ID", *answer.headers, *more_headers)
    return {
        "description": answer.description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        **({"content": content} if content else {}),
        **({"links": dict(answer.links)} if answer.links else {}),
    }


def _finish(node: Any, settings: Settings, key: str = "") -> Any:
    """Settings filled into descriptions, and patterns as ECMA 262 writes them: it has no \\Z, and its $ is the end."""
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
