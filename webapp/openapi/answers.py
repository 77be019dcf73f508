"""Answers of the views that are not declared yet."""


def answer(description: str, content: dict | None = None, headers: tuple[str, ...] = (), **more) -> dict:
    """A response; `content` is a JSON schema, or media types with theirs."""
    if content is not None and not all("/" in name for name in content):
        content = {"application/json": {"schema": content}}
    named = {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", *headers)}
    return {"description": description, "headers": named, **({"content": content} if content else {}), **more}
