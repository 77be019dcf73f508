"""A webhook's receiver that accepts, refuses, fails, hangs and redirects."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "correct horse battery staple"


class Receiver:
    """`requests` are those received. Answers `statuses` in turn, and the last one from then on; None hangs."""

    def __init__(self):
        self.requests: list[tuple[dict, bytes]] = []
        self.statuses = [204]
        self.released = threading.Event()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        self.requests.append((dict(request.headers), body))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status is None:
            self.released.wait(20)
            return
        request.send_response(status)
        request.send_header("Location", "/elsewhere")
        request.send_header("Content-Length", "0")
        request.end_headers()

    @property
    def events(self) -> list[dict]:
        return [json.loads(body) for _, body in self.requests]


@contextmanager
def listening(receiver: Receiver) -> Iterator[str]:
    """Serves the receiver; yields its URL, which holds a secret."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            receiver.answer(self)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/alerts?token=for-nobody"
    finally:
        receiver.released.set()
        server.shutdown()
        server.server_close()
