"""One HTTP exchange with a deadline for all of it, also against a server that sends a byte now and then."""

import socket
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from threading import Event, Timer
from urllib.parse import urlsplit

CONNECT_SECONDS = 3
ANSWER_SECONDS = 5


def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    """Sends one POST and returns the status of the answer; its body is not read and no redirect followed.

    Takes CONNECT_SECONDS at most to connect, for each address of the host, and ANSWER_SECONDS for the rest. Raises
    TimeoutError after them, else OSError, HTTPException or UnicodeError.
    """
    parts = urlsplit(url)
    connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    with closing(connect(parts.hostname or "", parts.port, timeout=CONNECT_SECONDS)) as connection:
        connection.connect()  # with the TLS handshake, which has the same timeout for all of its reads
        connection.sock.settimeout(ANSWER_SECONDS)
        is_over = Event()

        def end(connected: socket.socket = connection.sock) -> None:
            is_over.set()
            with suppress(OSError):
                # Of the base class: that of a TLS socket is not made for a call from another thread.
                socket.socket.shutdown(connected, socket.SHUT_RDWR)

        # A timeout of a socket is one for each read.
        watchdog = Timer(ANSWER_SECONDS, end)
        watchdog.daemon = True
        watchdog.start()
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", target, body, headers)
            status = connection.getresponse().status
        except (OSError, HTTPException):
            if not is_over.is_set():
                raise
        finally:
            watchdog.cancel()
        if is_over.is_set():  # headers that end early look complete
            raise TimeoutError
        return status
