"""Operations: views declared together with all that auth, limits and /openapi.json must know of them.

    @bp.put("/<site>")
    @operation(
        "Tariffs",
        "Set the tariff of a site",
        scopes=(ADMIN,),
        body=Body(NewTariffSchema, examples={"flat": ("One price", {...})}),
        answers={200: "Replaced", 201: "Created"},
    )
    def set_tariff(site: Site, body: Mapping[str, Any]) -> tuple[Tariff, int]:
        ...
        return Tariff(...), 201

- The function's name is the operationId, in camelCase. Its docstring, if any, is the description that clients read.
- The arguments from the path are described by their annotations. A value that does not fit is answered 404, or 422 to
  a PUT.
- `query` and `body` are marshmallow schemas. What they load is passed to the view as `query` and `body`; what they
  refuse is answered 422, as is a query parameter that the operation does not have.
- A view returns a JsonObject (webapp/http/answers.py); or one with a status; or None, which is 204; or a Response, for
  what is not JSON. The JSON of its return annotation is documented for each status below 300.
- `answers` describes statuses, in words or with an Answer. Left out, it is 200 with the docstring of the type returned.
  A status of 400 and above has the shape Error.
- `errors` adds shared errors to those that follow from the rest (`Operation.shared_errors`).
- `scopes`: a key needs one of them; `admin` has them all. PUBLIC needs no key. `all_devices`: the answer covers all
  devices, and is not for a key that is bound to some. `counts_readings`: a key's limit counts the readings of the
  request (webapp/ingest), not the request.

A description may name a setting, as `{heartbeat_seconds}`: the document shows its value.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import update_wrapper
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from flask import Response, current_app, request
from marshmallow import Schema, ValidationError
from werkzeug.wrappers import Response as AnyResponse

from models.readings import DEVICE_ID_RULE
from webapp.http.answers import camel_case, json_response
from webapp.http.bodies import read_json
from webapp.http.errors import not_found
from webapp.http.fields import closest, list_unknown

PUBLIC: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """One status of an operation.

    `body`: the type of its JSON, if not that of the return annotation. `media`: the JSON Schemas of other media types.
    """

    description: str
    body: Any = None
    media: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    headers: tuple[str, ...] = ()
    links: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Body:
    """A JSON object that `schema` loads. If it is not `required`, no body is as good as {}."""

    schema: type[Schema]
    examples: Mapping[str, tuple[str, Any]]  # by name: a summary and the value
    max_bytes: int = 16 * 1024
    required: bool = True


@dataclass(eq=False)
class Operation:
    """A view as Flask calls it, with its declaration. Made by `operation`."""

    view: Callable[..., Any]
    tag: str
    summary: str
    scopes: tuple[str, ...]
    all_devices: bool = False
    counts_readings: bool = False
    query: type[Schema] | None = None
    body: Body | None = None
    answers: Mapping[int, str | Answer] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    headers: tuple[str, ...] = ()  # the shared header parameters that it reads, by name
    request_body: dict[str, Any] | None = None  # of a view that reads its body by itself: the OpenAPI object
    description: str = ""  # that clients read; left out: the view's docstring
    deprecated: bool = False
    documented: bool = True
    path: Mapping[str, Any] = field(init=False)  # types of the arguments from the path
    returns: Any = field(init=False)  # type of the JSON returned; None: no JSON

    def __post_init__(self) -> None:
        update_wrapper(self, self.view)
        hints = get_type_hints(self.view, include_extras=True)
        self.returns = _json_type(hints.pop("return", None))
        self.path = {name: kind for name, kind in hints.items() if name not in ("query", "body")}
        self.description = self.description or inspect.cleandoc(self.view.__doc__ or "")
        self._query = self.query() if self.query else None
        self._parameters = [each.data_key or name for name, each in self._query.fields.items()] if self._query else []
        self._body = self.body.schema() if self.body else None

    @property
    def shared_errors(self) -> set[int]:
        """The statuses of the errors that webapp/openapi/shared.py describes."""
        found = {403, 422, 500, *self.errors}
        found |= {401, 429, 503} if self.scopes else set()
        found |= {400, 413, 415} if self.body else set()
        return found

    def __call__(self, **values: Any) -> AnyResponse:
        arguments = {name: _convert(name, values[name], kind) for name, kind in self.path.items() if name in values}
        if self.documented:
            self._refuse_unknown_parameters()
        if self._query:
            arguments["query"] = self._query.load(request.args)
        if self.body and self._body:
            has_body = self.body.required or request.content_length or request.headers.get("Transfer-Encoding")
            arguments["body"] = self._body.load(read_json(request, self.body.max_bytes) if has_body else {})
        return _respond(self.view(**arguments))

    def _refuse_unknown_parameters(self) -> None:
        if unknown := list_unknown(request.args, self._parameters):
            raise ValidationError({name: [self._explain_unknown(name)] for name in unknown})

    def _explain_unknown(self, name: str) -> str:
        if meant := closest(name, self._parameters):
            return f"Unknown parameter; did you mean `{meant}`?"
        names = ", ".join(f"`{each}`" for each in self._parameters) or "no parameters"
        return f"Unknown parameter; this operation has {names}."


def operation(
    tag: str, summary: str, *, scopes: tuple[str, ...], **declaration: Any
) -> Callable[[Callable[..., Any]], Operation]:
    """Declares a view; the keywords are the fields of Operation. See the top of this module."""
    return lambda view: Operation(view, tag, summary, scopes, **declaration)


def declared(endpoint: str | None) -> Operation | None:
    """The operation behind an endpoint of the current application; None for a view without a declaration, and None."""
    view = current_app.view_functions.get(endpoint or "")
    return view if isinstance(view, Operation) else None


def _convert(name: str, value: str, kind: Any) -> Any:
    try:
        converted = msgspec.convert(value, kind, strict=False)
        if str(converted) == value:  # 1.0 and 1e3 are converted to integers too
            return converted
    except msgspec.ValidationError:
        pass
    if request.method == "PUT":
        raise ValidationError(f"{DEVICE_ID_RULE}.", camel_case(name))
    raise not_found(name.removesuffix("_id"))


def _respond(result: Any) -> AnyResponse:
    if result is None:
        return Response(status=204)
    if isinstance(result, AnyResponse):
        return result
    return json_response(*result) if isinstance(result, tuple) else json_response(result)


def _json_type(annotation: Any) -> Any:
    """The JSON of a return annotation: without the status in a tuple, and without Responses in a union."""
    if get_origin(annotation) is tuple:
        annotation = get_args(annotation)[0]
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return next((kind for kind in kinds if kind not in (None, NoneType, Response, AnyResponse)), None)
