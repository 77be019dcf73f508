"""One HTTP exchange, against real servers that are slower than its deadline."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests import ROOT
from workers import exchange

pytestmark = pytest.mark.slow

CERTIFICATE = ROOT / "tests/loadtool/localhost.pem"


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(exchange, "CONNECT_SECONDS", 1)
    monkeypatch.setattr(exchange, "ANSWER_SECONDS", 1)


@pytest.fixture(params=["http", "https"])
def serve(request, monkeypatch) -> Iterator:
    """Starts a server that sends each piece after a pause; returns its URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    monkeypatch.setattr(ssl, "_create_default_https_context", lambda: trusting)
    listener = socket.create_server(("127.0.0.1", 0))

    def start(pieces: list[bytes], pause: float) -> str:
        def answer() -> None:
            connection, _ = listener.accept()
            with suppress(OSError):
                if request.param == "https":
                    connection = context.wrap_socket(connection, server_side=True)
                connection.recv(65536)
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(pause)
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        return f"{request.param}://localhost:{listener.getsockname()[1]}/hook?token=x"

    yield start
    listener.close()


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 200 OK\r\n", *(f"X-{number}: 1\r\n".encode() for number in range(40))],
        [b"HTTP/1.1 100 Continue\r\n\r\n"] * 40,
        [bytes([letter]) for letter in b"HTTP/1.1 200 " + b"O" * 40],
    ],
    ids=["headers", "continue", "status"],
)
def test_a_dripping_answer_ends_at_the_deadline(serve, pieces):
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        exchange.post(serve(pieces, pause=0.2), b"{}", {})
    assert time.monotonic() - started < 4  # 8 seconds of dripping


def test_a_server_that_never_answers_is_a_timeout(serve):
    with pytest.raises(TimeoutError):
        exchange.post(serve([b""], pause=5), b"{}", {})


def test_the_status_is_returned_without_the_body(serve):
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 1000000\r\n\r\n"
    assert exchange.post(serve([answer, b"x"], pause=5), b"{}", {}) == 404


def test_an_untrusted_certificate_is_refused(serve, monkeypatch):
    url = serve([], pause=0)
    if url.startswith("https"):
        monkeypatch.setattr(ssl, "_create_default_https_context", ssl.create_default_context)
        with pytest.raises(ssl.SSLCertVerificationError):
            exchange.post(url, b"{}", {})


def test_a_handshake_that_never_ends_is_a_timeout():
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(TimeoutError):
        exchange.post(f"https://127.0.0.1:{listener.getsockname()[1]}/", b"{}", {})
