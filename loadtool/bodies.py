"""Bodies of requests with the time left open: filled in by one `join`, so that a sender needs little of its machine."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

_TIME = b"\0"
_OPEN_READING = b'"timestamp":"\0"'


class Body:
    """The readings as JSON: one as an object, several as an array or as NDJSON. They all bear one timestamp."""

    def __init__(self, readings: Iterable[dict], *, is_ndjson: bool = False):
        texts = [_with_open_time(reading) for reading in readings]
        if is_ndjson:
            text = b"\n".join(texts) + b"\n"
        else:
            text = texts[0] if len(texts) == 1 else b"[" + b",".join(texts) + b"]"
        self._fragments = text.split(_TIME)

    def at(self, timestamp: bytes) -> bytes:
        return timestamp.join(self._fragments)


def timestamp(seconds_ago: float = 0) -> bytes:
    """RFC 3339, in milliseconds."""
    milliseconds = int((time.time() - seconds_ago) * 1000)
    return b"%b.%03dZ" % (_whole_second(milliseconds // 1000), milliseconds % 1000)


@lru_cache(maxsize=16)  # formatting takes longer than all else that a single reading needs
def _whole_second(second: int) -> bytes:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


def _with_open_time(reading: dict) -> bytes:
    return msgspec.json.encode(reading | {"timestamp": None}).replace(b'"timestamp":null', _OPEN_READING)
