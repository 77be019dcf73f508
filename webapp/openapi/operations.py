"""Operations: every one says what it takes, what it does, and each answer it can give."""

from collections.abc import Iterator

from webapp.http.limits import HEADERS as LIMIT_HEADERS

Operations = Iterator[tuple[str, str, dict]]  # path, method, the operation object


def operation(
    tag: str,
    name: str,
    summary: str,
    answers: dict[int, dict],
    errors: str = "",
    needs: tuple[str, ...] = (),
    **more,
) -> dict:
    """`answers` are this operation's own; `errors` names those shared by all, by status. Any may answer 500.

    `needs` are the scopes of which a key must have one; without them the operation is for everybody.
    """
    parameters = [*more.pop("parameters", ()), "X-Request-ID"]
    shared = {int(status): status for status in [*errors.split(), "500"]}
    if needs:
        # A key that was never looked up, for Postgres was away, is answered 503.
        shared |= {401: "401", 403: "403", 429: "429", 503: "503"}
        limits = {name: {"$ref": f"#/components/headers/{name}"} for name in LIMIT_HEADERS}
        answers = {status: {**told, "headers": told["headers"] | limits} for status, told in answers.items()}
    # apispec makes references of plain names: of the shared parameters and answers.
    return {
        "tags": [tag],
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "security": [{scheme: [scope]} for scope in needs for scheme in ("bearer", "apiKey")],
        "responses": dict(sorted((shared | answers).items())),
        **more,
    }


def in_path(name: str, shape: dict) -> dict:
    return {"name": name, "in": "path", "required": True, "schema": shape}
