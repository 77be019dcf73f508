"""An API behind a real HTTP server, and a server with the answers of a test."""

import socket
import threading
from collections.abc import Callable

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server


class _QuietHandler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *_) -> None: ...


@pytest.fixture
def url(app):
    """The application behind a real HTTP server, without a worker."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_QuietHandler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def draining(drain_all):
    """Drains in a thread during the test."""
    is_over = threading.Event()

    def drain() -> None:
        while not is_over.wait(0.02):
            drain_all()

    thread = threading.Thread(target=drain)
    thread.start()
    yield
    is_over.set()
    thread.join()
    drain_all()


@pytest.fixture
def closed_url():
    """An address at which nothing listens."""
    with socket.socket() as bound:  # without listen(): no other process gets the port
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def serve():
    """Starts a server that passes each connection to a function, in a thread; returns its URL."""
    listeners = []

    def serve(answer: Callable[[socket.socket], None]) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # closed: the test is over
                    return
                threading.Thread(target=_answer_and_close, args=(answer, connection), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield serve
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _answer_and_close(answer: Callable[[socket.socket], None], connection: socket.socket) -> None:
    with connection:
        answer(connection)
