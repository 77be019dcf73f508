"""What the answers about the fleet share: a window of roll-ups that ends at the watermark, read at one moment."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple

import psycopg
from marshmallow import ValidationError, fields, validate
from msgspec import Meta

from models.analytics.fleet import summary as fleet
from models.analytics.fleet.summary import FleetQuery
from models.analytics.rollups.watermark import RollupState, get_state
from webapp.http.answers import Count, JsonObject, Time, Window
from webapp.http.auth import binding
from webapp.http.clock import request_time
from webapp.http.fields import QuerySchema
from webapp.http.resources import current_resources, database

WINDOWS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}
# A list keeps the window of its first page, for as long as its cursors are valid.
CURSOR_LIFETIME = timedelta(days=1)


class FleetWindowSchema(QuerySchema):
    window = fields.String(
        load_default="24h",
        validate=validate.OneOf(list(WINDOWS)),
        metadata={"description": "its length before the hour of the watermark; it ends at the watermark"},
    )


class RolledUp(JsonObject):
    """Base of answers from roll-ups."""

    window: Annotated[Window, Meta(description="[from, to): it ends at the watermark")]
    watermark: Annotated[
        Time | None, Meta(description="everything recorded before it is rolled up; null: nothing is rolled up yet")
    ]
    recomputing: Annotated[Count, Meta(description="changes before the watermark that are not in the numbers yet")]


class FleetRead(NamedTuple):
    """A transaction in which all queries see the same moment, and what they ask for."""

    connection: psycopg.Connection
    query: FleetQuery
    state: RollupState

    def fields(self) -> dict[str, Any]:
        """The fields of RolledUp."""
        window = Window(start=self.query.window.start, end=self.query.window.end)
        return {"window": window, "watermark": self.state.watermark, "recomputing": self.state.stale_marks}


@contextmanager
def fleet_read(window: str, *, ends: int | None = None) -> Iterator[FleetRead]:
    """Opens a read of one of WINDOWS. `ends`: the end of the first page's window, in seconds since 1970.

    Raises ValidationError if that is too long ago.
    """
    settings = current_resources().settings
    with database() as connection, fleet.consistent_read(connection):
        state = get_state(connection)
        query = FleetQuery(
            _window(state.watermark, WINDOWS[window], ends),
            settings.alert_threshold,
            settings.heartbeat_seconds,
            binding(),
        )
        yield FleetRead(connection, query, state)


def _window(watermark: datetime | None, span: timedelta, ends: int | None) -> fleet.Window:
    if watermark is None:  # an empty window: nothing is rolled up yet
        hour = request_time().replace(minute=0, second=0, microsecond=0)
        return fleet.Window(hour, hour)
    if ends is None:
        return fleet.window(watermark, span)
    latest = int(watermark.timestamp())
    if not latest - CURSOR_LIFETIME.total_seconds() <= ends <= latest:
        raise ValidationError("This cursor has expired; start again without one.", "cursor")
    return fleet.window(datetime.fromtimestamp(ends, UTC), span)
