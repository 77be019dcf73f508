"""Memory of a real web process while eight senders at a time send the costliest bodies that they can."""

import gzip
import json
import re
import socket
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from models.access.keys import Rights, create_key
from tests.factories import bearer, meter

pytestmark = pytest.mark.slow

AT_ONCE = 8
MAX_MEGABYTES = 400
SIZE = 8 * 1024 * 1024 - 1024


def array_of(unit: bytes) -> bytes:
    return b"[" + unit * (SIZE // len(unit)) + b"0]"


def bomb() -> bytes:
    deflate = zlib.compressobj(9, wbits=31)
    return b"".join(deflate.compress(b" " * 2**20) for _ in range(512)) + deflate.flush()


JSON, LINES = "application/json", "application/x-ndjson"
# Name: the body as it is after decompression, or already compressed; its type; whether gzip is sent.
BODIES: dict[str, tuple[bytes, str, bool]] = {
    "numbers": (array_of(b"1,"), JSON, True),
    "numbers, not compressed": (array_of(b"1,"), JSON, False),
    "objects": (array_of(b'{"":0},'), JSON, True),
    "arrays": (array_of(b"[],"), JSON, True),
    "bad rows": (json.dumps([meter(voltage=-1)] * 9_999).encode(), JSON, True),
    "objects in a row": (b'[{"meterId":' + array_of(b'{"":0},')[: SIZE // 7 * 7] + b"0]}]", JSON, True),
    "nesting": (b"[" * SIZE, JSON, True),
    "a string": (b'[{"meterId":"' + b"a" * SIZE + b'"}]', JSON, True),
    "a wide string": ('[{"meterId":"\N{GRINNING FACE}'.encode() + b"a" * SIZE + b'"}]', JSON, True),
    "a number": (b'[{"meterId":"a","voltage":' + b"1" * SIZE + b"}]", JSON, True),
    "one key": (b"[{" + b'"meterId":"a",' * (SIZE // 14) + b'"voltage":1}]', JSON, True),
    "many keys": (b"[{" + b"".join(b'"%d":0,' % key for key in range(SIZE // 12)) + b'"voltage":1}]', JSON, True),
    "not numbers": (array_of(b"NaN,"), JSON, True),
    "surrogates": (array_of(b'"\\ud800",'), JSON, True),
    "short lines": (b"1\n" * (SIZE // 2), LINES, True),
    "blank lines": (b"\n" * SIZE, LINES, True),
    "bomb": (bomb(), JSON, True),
}


def send(port: int, key: str, body: bytes, content_type: str, encoding: str) -> int:
    """The status of the answer."""
    head = (
        f"POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {content_type}\r\n{encoding}"
        f"Authorization: {bearer(key)['Authorization']}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(head.encode() + body)
        return int(connection.recv(65536)[9:12])


def peak_megabytes(port: int) -> int:
    """The largest memory that a process of this server has had."""
    statuses = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if str(port) in process.cmdline():
                statuses.append(Path(f"/proc/{process.pid}/status").read_text())
    return max(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) for status in statuses) // 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_hostile_bodies_do_not_fill_the_memory(port, database, drain_all):
    keys = [create_key(database, Rights("test", ["ingest"])) for _ in range(AT_ONCE)]
    good = json.dumps(meter()).encode()
    give_up_at = time.monotonic() + 20
    while any(send(port, key, good, JSON, "") != 202 for key in keys):
        assert time.monotonic() < give_up_at
        time.sleep(0.2)
    before, peaks = peak_megabytes(port), {}
    with ThreadPoolExecutor(AT_ONCE) as senders:
        for name, (body, content_type, is_gzip) in BODIES.items():
            sent = gzip.compress(body, 6) if is_gzip and name != "bomb" else body
            encoding = "Content-Encoding: gzip\r\n" if is_gzip else ""
            statuses = set(senders.map(lambda key, one=(sent, content_type, encoding): send(port, key, *one), keys))
            assert statuses <= {400, 413, 422, 503}, name
            assert send(port, keys[0], good, JSON, "") == 202, name
            peaks[name] = peak_megabytes(port)
    print(f"peak memory in MB: {before} before, then {peaks}")
    assert max(peaks.values()) < MAX_MEGABYTES, peaks
    drain_all()
