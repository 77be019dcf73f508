"""One HTTP connection: whole answers, broken ones, and when it connects anew."""

import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from loadtool.connection import IDLE_SECONDS, Answer, Connection, NoAnswer, NotConnected, Server

OK = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n"
BODY = b'{"accepted":1}'
CHUNKED = b"HTTP/1.1 202 Accepted\r\nTRANSFER-ENCODING: chunked\r\n\r\n5\r\n"
CERTIFICATE = Path(__file__).with_name("localhost.pem")


def connect(url: str, **options) -> Connection:
    return Connection(Server(url), **options)


def get(connection: Connection) -> Answer:
    return connection.request(Server("http://any").get("/"))


def answering(*parts: bytes):
    """A server that answers each request of a connection with all parts, each in a packet of its own."""

    def answer(connection: socket.socket) -> None:
        while connection.recv(65_536):
            for part in parts:
                connection.sendall(part)
                time.sleep(0.01)

    return answer


@pytest.mark.parametrize(
    "parts",
    [
        (OK + BODY,),
        (OK[:20], OK[20:], BODY[:5], BODY[5:]),
        (CHUNKED, BODY[:5] + b"\r\n9;x=y\r\n", BODY[5:] + b"\r\n0\r\n\r\n"),
    ],
    ids=["one packet", "pieces", "chunks"],
)
def test_an_answer_is_read_to_its_end(serve, parts):
    connection = connect(serve(answering(*parts)))
    for _ in range(3):
        answer = get(connection)
        assert (answer.status, answer.is_success, answer.body) == (202, True, {"accepted": 1})


def test_a_request_has_the_host_the_key_and_the_path_of_the_url():
    request = Server("http://fleet.example:81/energy/", "secret").post("/v1/telemetry", b"[]", {"X-A": "b"})
    head, body = request.split(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"POST /energy/v1/telemetry HTTP/1.1",
        b"Host: fleet.example:81",
        b"Authorization: Bearer secret",
        b"Content-Type: application/json",
        b"X-A: b",
        b"Content-Length: 2",
    ]
    assert body == b"[]"


@pytest.mark.parametrize("url", ["ftp://host", "host:8000", "http://"])
def test_a_url_of_no_http_server_is_refused(url):
    with pytest.raises(ValueError, match="http://"):
        Server(url)


def test_a_key_that_is_no_header_is_refused():
    with pytest.raises(ValueError, match="printable"):
        Server("http://host", "a\r\nX: b")


def test_headers_are_found_whatever_their_case():
    answer = Answer(503, b"HTTP/1.1 503 Busy\r\nretry-after: 7\r\nx: y", b'{"message": "backlog full"}')
    assert (answer.retry_after, answer.header("Absent")) == (7.0, None)
    assert answer.summary == "503 backlog full"
    assert Answer(503, b"HTTP/1.1 503 Busy\r\nRetry-After: Fri, 07 Nov 2025 23:59:59 GMT", b"").retry_after == 1.0


def test_nothing_was_sent_to_a_server_that_is_not_there(closed_url):
    with pytest.raises(NotConnected, match="refused"):
        get(connect(closed_url))


@pytest.mark.parametrize("part", [b"", OK, OK + BODY[:3], b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_connection_that_breaks_gives_no_answer_and_then_a_new_one_is_opened(serve, part):
    served = []

    def answer(connection: socket.socket) -> None:
        served.append(connection)
        connection.recv(65_536)
        connection.sendall(part if len(served) == 1 else OK + BODY)

    connection = connect(serve(answer))
    with pytest.raises(NoAnswer) as raised:
        get(connection)
    assert not isinstance(raised.value, NotConnected)
    assert get(connection).status == 202
    assert len(served) == 2


def test_an_answer_that_does_not_come_in_time_is_none(serve):
    connection = connect(serve(lambda connection: time.sleep(1)), answer_seconds=0.05)
    with pytest.raises(NoAnswer, match="timed out"):
        get(connection)


@pytest.mark.parametrize("closing", [b"", b"Connection: close\r\n"], ids=["idle", "announced"])
def test_a_connection_that_the_server_closed_after_an_answer_is_opened_again(serve, closing):
    def answer(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(OK.replace(b"Content-Type", closing + b"Content-Type") + BODY)

    connection = connect(serve(answer))
    for _ in range(2):
        assert get(connection).status == 202
        time.sleep(0 if closing else IDLE_SECONDS + 0.1)


def test_tls(monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    large = b"x" * 100_000  # several TLS records
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for _ in range(2):
                accepted, _ = listener.accept()
                try:
                    with context.wrap_socket(accepted, server_side=True) as connection:
                        while connection.recv(65_536):
                            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(large) + large)
                except OSError:  # the client does not trust the certificate
                    continue

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        url = f"https://localhost:{listener.getsockname()[1]}"
        with pytest.raises(NotConnected, match=r"(?i)certificate"):
            get(connect(url))
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        trusting = connect(url)
        for _ in range(3):
            assert get(trusting).content == large
        trusting.close()
        thread.join(5)
