"""A keep-alive HTTP/1.1 connection with little between a request and its answer, for requests by the thousand."""

import re
import select
import socket
import ssl
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 15.0
IDLE_SECONDS = 0.1  # after which it is checked whether the server has closed the connection
RECEIVED_BYTES = 262_144
DEFAULT_RETRY_SECONDS = 1.0
JSON, JSON_LINE = {"Content-Type": "application/json"}, "Content-Type: application/json\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


class NoAnswer(Exception):
    """The connection broke or the time was over: the server may have acted on the request, or not."""


class NotConnected(NoAnswer):
    """There was no connection: nothing was sent."""


class Answer(NamedTuple):
    status: int
    head: bytes
    content: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def body(self) -> Any:
        """The JSON, or the text if it is none."""
        try:
            return msgspec.json.decode(self.content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self.content.decode(errors="replace")

    @property
    def summary(self) -> str:
        """Status and message, for a person."""
        body = self.body
        message = body.get("message", "") if isinstance(body, dict) else ""
        return f"{self.status} {message}".strip()

    @property
    def retry_after(self) -> float:
        """Seconds. The header may also hold a date, which this API never sends."""
        text = self.header("Retry-After")
        return float(text) if text and text.isdigit() else DEFAULT_RETRY_SECONDS

    def header(self, name: str) -> str | None:
        found = re.search(rb"\r\n%b: *([^\r]*)" % re.escape(name.encode()), self.head, re.IGNORECASE)
        return found[1].decode("latin-1") if found else None


class Server:
    """The address of an API and the key for it; makes requests to it, as bytes."""

    def __init__(self, url: str, key: str | None = None):
        """Raises ValueError if the URL is not that of an HTTP server, or the key can't stand in a header."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("it must start with http:// or https:// and name a host")
        if key and not (key.isascii() and key.isprintable()):
            raise ValueError("an API key has printable ASCII characters only")
        self.url = url.rstrip("/")
        self.host, self.port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._path = parts.path.rstrip("/")
        self._head = f"Host: {parts.netloc.rpartition('@')[2]}\r\n"
        self._head += f"Authorization: Bearer {key}\r\n" if key else ""

    def get(self, path: str) -> bytes:
        return f"GET {self._path}{path} HTTP/1.1\r\n{self._head}Accept: application/json\r\n\r\n".encode()

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
        """JSON, unless the headers have another Content-Type."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in (JSON | headers).items()) if headers else JSON_LINE
        head = f"POST {self._path}{path} HTTP/1.1\r\n{self._head}{lines}Content-Length: {len(body)}\r\n\r\n"
        return head.encode() + body


class Connection:
    """One connection with at most one request on its way. Not for several threads."""

    def __init__(
        self, server: Server, *, connect_seconds: float = CONNECT_SECONDS, answer_seconds: float = ANSWER_SECONDS
    ):
        self._server, self._connect_seconds, self._answer_seconds = server, connect_seconds, answer_seconds
        self._socket: socket.socket | None = None
        self._received = b""
        self._used_at = 0.0

    def request(self, request: bytes) -> Answer:
        """Sends it and waits for the answer. Raises NotConnected or NoAnswer."""
        self.send(request)
        while (answer := self.receive()) is None:
            pass
        return answer

    def send(self, request: bytes) -> None:
        """Connects first if needed. Raises NotConnected or NoAnswer."""
        is_idle = time.monotonic() - self._used_at > IDLE_SECONDS
        usable = None if is_idle and self._was_closed() else self._socket
        try:
            (usable or self.open()).sendall(request)
        except OSError as error:
            raise self._broken(_reason(error)) from None

    def receive(self) -> Answer | None:
        """The answer if it is complete, else None; blocks until there is more of it. Raises NoAnswer."""
        try:
            received = self._receive()
        except OSError as error:
            raise self._broken(_reason(error)) from None
        if not received:
            raise self._broken("closed without an answer")
        received = self._received = self._received + received if self._received else received
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return None
        if length := _LENGTH.search(received, 0, end):
            body = received[end + 4 :] if len(received) >= end + 4 + int(length[1]) else None
        elif _CHUNKED.search(received, 0, end):
            body = _dechunked(received[end + 4 :])
        else:
            raise self._broken("an answer of unknown length")
        if body is None:
            return None
        self._received, self._used_at = b"", time.monotonic()
        if received.find(b"lose", 0, end) > 0 and _CLOSE.search(received, 0, end):
            self.close()
        return Answer(int(received[9:12]), received[:end], body)

    def open(self) -> socket.socket:
        """Raises NotConnected."""
        self.close()
        server = self._server
        try:
            opened = socket.create_connection((server.host, server.port), self._connect_seconds)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if server.tls:
                opened = server.tls.wrap_socket(opened, server_hostname=server.host)
        except OSError as error:
            raise NotConnected(_reason(error)) from None
        opened.settimeout(self._answer_seconds)
        self._socket, self._used_at = opened, time.monotonic()
        return opened

    def close(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket, self._received = None, b""

    def fileno(self) -> int:
        """For select(), while a request is on its way."""
        return self._socket.fileno() if self._socket else -1

    def _receive(self) -> bytes:
        if self._socket is None:
            return b""
        received = self._socket.recv(RECEIVED_BYTES)
        # What TLS has decrypted already is not seen by select().
        while self._server.tls and isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            received += self._socket.recv(RECEIVED_BYTES)
        return received

    def _was_closed(self) -> bool:
        """Whether the server closed the idle connection: nothing else can be received without a request."""
        return self._socket is not None and bool(select.select([self._socket], (), (), 0)[0])

    def _broken(self, why: str) -> NoAnswer:
        self.close()
        return NoAnswer(why)


def _dechunked(received: bytes) -> bytes | None:
    """The body; None while it is not complete."""
    body, start = b"", 0
    while (end := received.find(b"\r\n", start)) >= 0:
        length = int(received[start:end].partition(b";")[0], 16)
        if len(received) < end + length + 4:
            return None
        if not length:
            return body
        body, start = body + received[end + 2 : end + 2 + length], end + length + 4
    return None


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
