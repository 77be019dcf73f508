"""Operations: every one says what it takes, what it does, and each answer it can give."""

from collections.abc import Iterator

Operations = Iterator[tuple[str, str, dict]]  # path, method, the operation object


def operation(tag: str, name: str, summary: str, answers: dict[int, dict], errors: str = "", **more) -> dict:
    """`answers` are this operation's own; `errors` names those shared by all, by status. Any may answer 500."""
    parameters = [*more.pop("parameters", ()), "X-Request-ID"]
    # apispec makes references of plain names: of this parameter, and of the shared answers.
    shared = {int(status): status for status in [*errors.split(), "500"]}
    return {
        "tags": [tag],
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "responses": dict(sorted((shared | answers).items())),
        **more,
    }


def in_path(name: str, shape: dict) -> dict:
    return {"name": name, "in": "path", "required": True, "schema": shape}
