"""Bounds on what holds a thread of the process: in all, and for each sender.

What takes a moment unless its sender is slow, such as a body, may wait a moment at a bound before it is refused, unless
all those before it have been slow for as long.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Response, g, request

from models.access.keys import Key
from webapp.http.errors import error_response


class NoPlace(Exception):
    """The bound of one sender, or of the process, is reached. Nothing was accepted."""

    def __init__(self, what: str, of_sender: bool):
        super().__init__(f"too many {what}")
        self.what, self.of_sender = what, of_sender


def sender_of(key: Key | None, address: str | None) -> str:
    """Who is bounded: a key with those that replace it, or without keys an address."""
    return key.owner if key else str(address)


def current_sender() -> str:
    return sender_of(g.key, request.remote_addr)


class Places:
    """Those that are taken, by whom and since when. Threads share it."""

    def __init__(self, what: str, most: int, most_of_sender: int, patience_seconds: float = 0.0):
        self._what = what
        self._most, self._most_of_sender = most, most_of_sender
        self._patience = patience_seconds
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._waiting = 0
        self._all: dict[object, float] = {}
        self._by_sender: dict[str, dict[object, float]] = {}

    def enter(self, sender: str) -> object:
        """Takes a place and returns a ticket for `leave`, which may be called again. Raises NoPlace."""
        ticket = object()
        with self._lock:
            if len(self._all) >= self._most or len(self._by_sender.get(sender, ())) >= self._most_of_sender:
                self._wait_for_room(sender)
            self._all[ticket] = self._by_sender.setdefault(sender, {})[ticket] = time.monotonic()
        return ticket

    def leave(self, sender: str, ticket: object) -> None:
        with self._lock:
            self._all.pop(ticket, None)
            own = self._by_sender.get(sender, {})
            own.pop(ticket, None)
            if not own:
                self._by_sender.pop(sender, None)
            if self._waiting:
                self._ended.notify_all()

    @contextmanager
    def held(self, sender: str) -> Iterator[None]:
        """A place for as long as the context lasts. Raises NoPlace."""
        ticket = self.enter(sender)
        try:
            yield
        finally:
            self.leave(sender, ticket)

    def _wait_for_room(self, sender: str) -> None:
        give_up_at = time.monotonic() + self._patience
        self._waiting += 1
        try:
            while full := self._full(sender):
                newest = next(reversed(full.values()))
                left = min(give_up_at, newest + self._patience) - time.monotonic()
                if left <= 0:
                    raise NoPlace(self._what, of_sender=full is not self._all)
                self._ended.wait(left)
        finally:
            self._waiting -= 1

    def _full(self, sender: str) -> dict[object, float]:
        """Those that leave no room for another one; empty if there is room."""
        own = self._by_sender.get(sender, {})
        if len(own) >= self._most_of_sender:
            return own
        return self._all if len(self._all) >= self._most else {}


def answer_no_place(error: NoPlace) -> Response:
    advice = "try again later" if request.method == "GET" else "nothing was accepted, try again later"
    if error.of_sender:
        who = "this key" if g.key else "this address"
        return error_response(429, f"Too many {error.what} of {who} at a time; {advice}")
    return error_response(503, f"Too many {error.what} at a time; {advice}", reason="busy")
