"""Query plans, for tests that assert which index a query uses."""

from collections.abc import Iterator


def plan_nodes(node: dict) -> Iterator[dict]:
    """The node and all below it."""
    yield node
    for child in node.get("Plans", []):
        yield from plan_nodes(child)
