"""The nginx of deploy/nginx/nginx.conf, with ports, paths and a certificate that are free here."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3

from tests import ROOT
from tests.processes import free_port, wait_until

CONFIGURATION = (ROOT / "deploy/nginx/nginx.conf").read_text()


class Proxy:
    def __init__(self, folder: Path, port: int):
        self.folder, self.port = folder, port
        self.url = f"https://localhost:{port}"
        self._pool = urllib3.PoolManager(ca_certs=str(folder / "certificate"), retries=False, timeout=30)

    def request(self, method: str, path: str, **options) -> urllib3.BaseHTTPResponse:
        return self._pool.request(method, f"{self.url}{path}", **options)

    def connect(self, *protocols: str) -> ssl.SSLSocket:
        """A TLS connection that offers these protocols."""
        context = ssl.create_default_context(cafile=self.folder / "certificate")
        if protocols:
            context.set_alpn_protocols(protocols)
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return context.wrap_socket(plain, server_hostname="localhost")

    def log(self) -> list[dict]:
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]


@contextmanager
def proxying(folder: Path, engine_port: int, **changes: str) -> Iterator[Proxy]:
    """Runs nginx before the port; `changes` replace texts of the configuration."""
    if not shutil.which("nginx"):
        pytest.skip("nginx is not installed; .ci/run installs it")
    port = free_port()
    _create_certificate(folder)
    text = CONFIGURATION
    for before, after in {
        "/tmp/": f"{folder}/",  # the first: the others name the folder
        "web:8000": f"127.0.0.1:{engine_port}",
        "8443": f"127.0.0.1:{port}",
        "/run/secrets/tls_certificate": f"{folder}/certificate",
        "/run/secrets/tls_key": f"{folder}/key",
        "/dev/stdout": f"{folder}/log",
        "/dev/stderr": f"{folder}/errors",
        **changes,
    }.items():
        assert before in text
        text = text.replace(before, after)
    if os.geteuid() == 0:
        text = f"user root;\n{text}"  # as another user it could not enter the folder
    (folder / "nginx.conf").write_text(text)
    process = subprocess.Popen(["nginx", "-p", folder, "-c", folder / "nginx.conf", "-g", "daemon off;"])
    try:
        wait_until(lambda: _answers(port), "nginx listens")
        yield Proxy(folder, port)
        process.terminate()
        process.wait(30)
    finally:
        process.kill()


@contextmanager
def engine_of_the_test(answer) -> Iterator[int]:
    """A server in place of the engine: calls `answer(connection, head)` for each request; yields its port."""

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                head = b""
                while b"\r\n\r\n" not in head and (part := connection.recv(65536)):
                    head += part
                answer(connection, head.decode())

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def _create_certificate(folder: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", folder / "key", "-out", folder / "certificate"],
        check=True, capture_output=True,
    )  # fmt: skip


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
