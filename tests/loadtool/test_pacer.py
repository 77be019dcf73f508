"""Requests over many connections, each when it is due."""

import itertools
import socket
import threading
import time

import pytest

from loadtool.connection import Answer, Connection, NoAnswer, NotConnected, Server
from loadtool.pacer import Pacer, Pause, Request

pytestmark = pytest.mark.slow

OK = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"


class Load:
    """A pacer with what it was answered."""

    def __init__(self, url: str, connections: int, pause=lambda answer: None, requests=None, **options):
        server = Server(url)
        numbered = (Request(server.post(f"/{number}", b"")) for number in itertools.count())
        self.pause, self.answers, self.sent = pause, [], []
        self.pacer = Pacer(
            [Connection(server, answer_seconds=2) for _ in range(connections)],
            requests or numbered,
            self._enter,
            **options,
        )
        started = time.monotonic()
        self.pacer.run()
        self.seconds = time.monotonic() - started

    def _enter(self, sent, answer: Answer | NoAnswer) -> Pause | None:
        self.answers.append((answer if isinstance(answer, NoAnswer) else answer.status, time.monotonic() - sent.due))
        self.sent.append(sent)
        return self.pause(answer)


def slowly(seconds: float):
    def answer(connection: socket.socket) -> None:
        while connection.recv(65_536):
            time.sleep(seconds)
            connection.sendall(OK)

    return answer


def test_with_a_rate_an_answers_time_counts_from_when_its_request_was_due(serve):
    # 100 a second over one connection that takes 50 ms: each is due 10 ms after the one before, and sent 40 ms later.
    load = Load(serve(slowly(0.05)), connections=1, rate=100, count=5)
    assert [status for status, _ in load.answers] == [202] * 5
    for number, (sent, (_, seconds)) in enumerate(zip(load.sent, load.answers, strict=True)):
        late = sent.at - sent.due
        assert late >= 0.04 * number - 0.001
        assert seconds >= late + 0.049


def test_with_a_rate_requests_are_sent_before_earlier_ones_are_answered(serve):
    all_sent = threading.Barrier(5)

    def answer(connection: socket.socket) -> None:
        if connection.recv(65_536):
            all_sent.wait(60)
            connection.sendall(OK)

    load = Load(serve(answer), connections=5, rate=50, count=5)
    assert [status for status, _ in load.answers] == [202] * 5


def test_without_a_rate_each_connection_sends_when_it_is_answered(serve):
    load = Load(serve(slowly(0.05)), connections=4, seconds=0.5)
    assert 20 <= load.pacer.sent <= 44
    assert len(load.answers) == load.pacer.sent, "all are answered at the end"


def test_it_ends_with_the_requests(serve):
    server = Server("http://any")
    load = Load(serve(slowly(0)), connections=3, requests=iter([Request(server.post("/", b""), 5)] * 7))
    assert [sent.request.readings for sent in load.sent] == [5] * 7


def test_it_can_be_stopped_from_another_thread(serve):
    url = serve(slowly(0.01))
    running = []

    def stop() -> None:
        while not running:
            time.sleep(0.01)
        running[0].stop()

    threading.Thread(target=stop).start()
    server = Server(url)

    def requests():
        for number in itertools.count():
            if number == 10:
                running.append(pacer)
            yield Request(server.get("/"))

    pacer = Pacer([Connection(server)], requests(), lambda *_: None)
    pacer.run()
    assert 10 <= pacer.sent < 200


def test_a_pause_holds_its_connection_back(serve):
    load = Load(serve(slowly(0)), connections=1, count=4, pause=lambda _: Pause(0.1))
    assert load.seconds >= 0.3


def test_a_refused_request_is_repeated(serve):
    seen = []

    def refuse_the_first_two(connection: socket.socket) -> None:
        while request := connection.recv(65_536):
            seen.append(request.split(b" ")[1])
            connection.sendall(OK if len(seen) > 2 else BUSY)

    def repeat(answer):
        return Pause(0.01, is_repeated=True) if answer.status == 503 else None

    load = Load(serve(refuse_the_first_two), connections=1, count=2, pause=repeat)
    assert seen == [b"/0", b"/0", b"/0", b"/1"]
    assert load.pacer.sent == 2


def test_a_broken_connection_is_reported_and_opened_again(serve):
    def answer_one(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(OK)
        connection.recv(65_536)  # and ends without an answer

    load = Load(serve(answer_one), connections=1, count=4)
    assert [isinstance(answer, NoAnswer) for answer, _ in load.answers] == [False, True, False, True]


def test_an_unreachable_server_is_an_error_at_the_start(closed_url):
    with pytest.raises(NotConnected):
        Load(closed_url, connections=2, count=1)
