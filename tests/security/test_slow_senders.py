"""Senders that hold what they can, against a real web process: nobody else waits for them."""

import json
import socket
import time
from contextlib import ExitStack
from threading import Timer

import pytest

from models.access.keys import Rights, create_key
from models.storage.partitions import ensure_partitions
from tests.factories import bearer, meter, vehicle
from tests.processes import ask_raw, wait_until
from webapp.http.bounds.places import NoPlace, Places

pytestmark = pytest.mark.slow


def head(key: str, length: int, extra: str = "") -> str:
    return (
        f"POST /v1/telemetry HTTP/1.1\nHost: x\nAuthorization: {bearer(key)['Authorization']}\n"
        f"Content-Type: application/json\nContent-Length: {length}{extra}"
    )


def post(port: int, key: str) -> tuple[int, dict]:
    body = json.dumps(meter()).encode()
    return ask_raw(port, head(key, len(body)), body)


@pytest.fixture
def key_of(port, database):
    """Creates a key that the web process accepts already."""

    def create() -> str:
        text = create_key(database, Rights("test", ["ingest", "read"]))
        give_up_at = time.monotonic() + 20
        while post(port, text)[0] != 202:
            assert time.monotonic() < give_up_at
            time.sleep(0.2)
        return text

    return create


def test_stalled_uploads_of_one_key_hold_back_nobody_else(port, key_of, drain_all):
    slow, other = key_of(), key_of()
    with ExitStack() as opened:
        stalled = []
        for _ in range(80):  # above the 64 threads
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            connection.sendall(f"{head(slow, 1000)}\n\n{{".replace("\n", "\r\n").encode())
            stalled.append(connection)
        for _ in range(3):
            assert ask_raw(port, "GET /health/live HTTP/1.1\nHost: x")[0] == 200
            assert post(port, other)[0] == 202
        status, answer = post(port, slow)
        assert (status, answer["message"]) == (
            429, "Too many bodies of this key at a time; nothing was accepted, try again later",
        )  # fmt: skip
        refused = 0
        for connection in stalled:
            connection.settimeout(0.05)
            try:
                refused += connection.recv(65536).startswith(b"HTTP/1.1 429 ")
            except TimeoutError:
                continue
        assert refused == 80 - 24
    wait_until(lambda: post(port, slow)[0] == 202, "the places of the slow ones are free")
    drain_all()


def test_readers_that_read_nothing_hold_back_nobody_else(port, key_of, send, database, drain_all):
    ensure_partitions(database, days_ahead=2)
    send(vehicle())
    database.execute(
        """insert into vehicle_readings_history
             (vehicle_id, recorded_at, received_at, kwh_delivered_dc, battery_temp, soc)
           select 'V001', now() - n * interval '100 ms', now(), n / 7.0, 20, null from generate_series(1, 200000) n"""
    )
    slow, other = key_of(), key_of()
    with ExitStack() as opened:
        statuses = []
        for _ in range(70):
            connection = opened.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(20)
            connection.connect(("127.0.0.1", port))
            request = "GET /v1/vehicles/V001/history HTTP/1.1\r\nHost: x\r\nAccept: text/csv"
            connection.sendall(f"{request}\r\nAuthorization: {bearer(slow)['Authorization']}\r\n\r\n".encode())
            statuses.append(connection.recv(12)[9:12])
        assert (statuses.count(b"200"), statuses.count(b"429")) == (4, 66)
        assert ask_raw(port, "GET /health/live HTTP/1.1\nHost: x")[0] == 200
        assert post(port, other)[0] == 202
    drain_all()


# ── The bounds ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_body_waits_a_moment_for_others_of_its_sender():
    places = Places("bodies", 9, 2, patience_seconds=5)
    first, _ = places.enter("a"), places.enter("a")
    other = places.enter("b")
    Timer(0.1, lambda: places.leave("a", first)).start()
    started = time.monotonic()
    places.enter("a")
    assert 0.05 < time.monotonic() - started < 4
    places.leave("b", other)


def test_a_body_does_not_wait_for_slow_ones():
    places = Places("bodies", 3, 2, patience_seconds=0.2)
    places.enter("a")
    places.enter("a")
    time.sleep(0.2)
    started = time.monotonic()
    for sender, of_sender in (("a", True), ("b", None), ("b", False)):
        if of_sender is None:
            places.enter(sender)
            time.sleep(0.2)
            started = time.monotonic()
            continue
        with pytest.raises(NoPlace) as refused:
            places.enter(sender)
        assert refused.value.of_sender is of_sender
        assert time.monotonic() - started < 0.1
