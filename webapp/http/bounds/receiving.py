"""Bounds on the bodies that a web process receives at a time.

Each body that is being received holds a thread, for as long as its sender likes: the server has no deadline for
bodies. The bounds leave threads for everybody else, and memory.
"""

import ctypes
from contextlib import suppress
from typing import IO

from flask import Flask, current_app, g, request

from webapp.http.bounds.places import NoPlace, Places, answer_no_place, current_sender

PATIENCE_SECONDS = 0.5
# A body above this size, as sent or decompressed, is large: few at a time are held until they are answered.
LARGE_BYTES = 256 * 1024
MOST_LARGE, MOST_LARGE_OF_SENDER = 8, 4
LARGE_PATIENCE_SECONDS = 2.0
_M_MMAP_THRESHOLD = -3  # of mallopt(3)


def init_app(app: Flask) -> None:
    settings = app.extensions["resources"].settings
    app.extensions["bodies"] = Places(
        "bodies", settings.body_concurrency, settings.body_concurrency_per_key, PATIENCE_SECONDS
    )
    app.extensions["large_bodies"] = Places("large bodies", MOST_LARGE, MOST_LARGE_OF_SENDER, LARGE_PATIENCE_SECONDS)
    app.register_error_handler(NoPlace, answer_no_place)
    app.teardown_request(_leave_large)
    # Else glibc keeps the memory of freed bodies, for each thread: 330 MB instead of 250 after the costliest ones.
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)


def receive(places: Places, stream: IO[bytes], size: int, sender: str) -> bytes:
    """Reads from the stream of a request. Raises NoPlace."""
    with places.held(sender):
        return stream.read(size)


def read_piece(size: int) -> bytes:
    """Up to `size` bytes of the request's body, of the server itself. Raises NoPlace."""
    return receive(current_app.extensions["bodies"], request.environ["wsgi.input"], size, current_sender())


def hold_large() -> None:
    """Counts the request's body as large until it is answered. Raises NoPlace."""
    if "large" not in g:
        sender = current_sender()
        g.large = sender, current_app.extensions["large_bodies"].enter(sender)


def _leave_large(_: BaseException | None) -> None:
    if held := g.pop("large", None):
        current_app.extensions["large_bodies"].leave(*held)
