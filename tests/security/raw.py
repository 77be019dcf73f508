"""Requests that no HTTP client would send."""

import socket


def exchange(port: int, request: str) -> tuple[bytes, bytes]:
    """Sends the request as it is; returns head and body of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request.encode("latin-1"))
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body
