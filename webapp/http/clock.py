"""The time of a request."""

from datetime import UTC, datetime

from flask import g, has_request_context


def request_time() -> datetime:
    """The time at which a request is answered: the same for its validation, its queries and its answer.

    Outside of a request it is the current time.
    """
    if not has_request_context():
        return datetime.now(UTC)
    moment: datetime | None = g.get("time")
    if moment is None:
        moment = g.time = datetime.now(UTC)
    return moment
