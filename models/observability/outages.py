"""Warnings during an outage: what fails each second is logged at once, then in one line each ten seconds."""

import time
from typing import Any

import structlog

from models.causes import log_fields

LINE_SECONDS = 10.0

log = structlog.get_logger()

_last_lines: dict[tuple, float] = {}
_unlogged: dict[tuple, int] = {}


def warn_of_outage(event: str, error: Exception, **fields: Any) -> None:
    """Logs a failure that is tried again. `repeats` counts the same ones since the last line of this process."""
    same = (event, type(error), *fields.values())
    now = time.monotonic()
    if now - _last_lines.get(same, -LINE_SECONDS) < LINE_SECONDS:
        _unlogged[same] = _unlogged.get(same, 0) + 1
        return
    _last_lines[same] = now
    if repeats := _unlogged.pop(same, 0):
        fields["repeats"] = repeats
    log.warning(event, **fields, **log_fields(error))
