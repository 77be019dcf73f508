"""Appends on a real Redis that stops, or whose answers get lost: each happens once or not at all."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest

from models.access.limits import Charge, Limit
from models.stream.admission import Appended, Conditions, OutcomeUnknown, StreamUnreachable
from models.stream.appender import RESEND_SECONDS
from models.stream.entry_ids import EntryId
from models.stream.telemetry import TelemetryStream
from tests.stream.lossy_proxy import LossyProxy
from tests.stream.owners import OWNERS

pytestmark = pytest.mark.slow


def test_scripts_are_loaded_again_after_redis_lost_them(stream, broker):
    stream.append(b"x", owner=OWNERS[0])
    broker.script_flush()
    stream.append(b"x", owner=OWNERS[0])
    assert stream.backlog(0) == 2


def test_an_append_that_redis_executes_too_late_appends_nothing(stream, broker, servers):
    """Redis stops while the append waits in its socket: the device is answered that nothing was accepted, which stays
    true when Redis continues."""
    stream.append(b"x", owner=OWNERS[0])
    broker.execute_command("CLIENT", "PAUSE", int(RESEND_SECONDS * 1000) + 2500)
    with pytest.raises((StreamUnreachable, OutcomeUnknown)):
        stream.append(b"late", owner=OWNERS[0])
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            broker.ping()
            break
        except OSError:
            time.sleep(0.1)
    time.sleep(0.5)
    assert stream.backlog(0) == 1


def test_an_append_whose_answer_got_lost_happens_once(stream, resources, servers):
    """A proxy cuts the connection after Redis executed the append, before the answer arrives."""
    proxy = LossyProxy(servers.redis_url)
    lossy = TelemetryStream(replace(resources.settings, redis_url=proxy.url))
    lossy.append(b"before", owner=OWNERS[0])
    proxy.lose_next_answer()
    appended = lossy.append(b"during", owner=OWNERS[0])
    assert proxy.lost == 1
    assert stream.backlog(0) == 2
    assert stream.contains(0, appended.entry_id)
    proxy.refuse_connections()
    lossy.close()


def test_an_append_without_any_answer_is_unknown(stream, resources, servers):
    proxy = LossyProxy(servers.redis_url)
    lossy = TelemetryStream(replace(resources.settings, redis_url=proxy.url))
    lossy.append(b"before", owner=OWNERS[0])
    proxy.lose_next_answer()
    proxy.refuse_connections()
    with pytest.raises(OutcomeUnknown):
        lossy.append(b"during", owner=OWNERS[0])
    lossy.close()


def test_requests_that_share_an_append_each_get_their_own_entry_once(stream, resources, servers):
    """Plain, named and charged ones together, while answers get lost. There are no other entries."""
    proxy = LossyProxy(servers.redis_url)
    lossy = TelemetryStream(replace(resources.settings, redis_url=proxy.url))
    charge = Charge("owner", Limit(per_second=1.0, burst=1000), units=1)
    appends: dict[bytes, Appended] = {}

    def send(number: int) -> None:
        payload = str(number).encode()
        conditions = (None, None, Conditions(f"key:{number}", 60), Conditions(charge=charge))[number % 4]
        appends[payload] = lossy.append(payload, conditions and OWNERS[0], conditions)

    with ThreadPoolExecutor(20) as pool:
        for round_ in range(10):
            proxy.lose_next_answer()
            list(pool.map(send, range(round_ * 20, round_ * 20 + 20)))
    assert proxy.lost > 1
    stored = {
        fields[b"v1"]: (shard, entry_id)
        for shard in range(stream.shards)
        for entry_id, fields in stream.read_after(shard, EntryId(0, 0), 1000)
    }
    assert stored == {payload: (appended.shard, appended.entry_id) for payload, appended in appends.items()}
    assert sum(stream.backlog(shard) for shard in range(stream.shards)) == len(appends) == 200
    deficit_ms = 1000 * 50  # of 50 readings charged, at one a second
    left = appends[b"199"].allowance.deficit_ms
    assert deficit_ms - 60_000 < left <= deficit_ms
    lossy.close()


def test_a_request_does_not_wait_long_behind_a_group_without_an_answer(stream, broker):
    """Redis stops: the group sent before may be accepted, the append after it was certainly not sent."""
    stream.append(b"x")
    broker.execute_command("CLIENT", "PAUSE", 3000)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(stream.append, b"first")
        time.sleep(0.2)
        with pytest.raises(StreamUnreachable):
            stream.append(b"behind it")
        assert not first.done()
        with suppress(StreamUnreachable, OutcomeUnknown):
            first.result()
    payloads = {
        fields[b"v1"] for shard in range(stream.shards) for _, fields in stream.read_after(shard, EntryId(0, 0), 9)
    }
    assert b"behind it" not in payloads
