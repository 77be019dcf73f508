"""The telemetry stream on a real Redis: appends, also those whose answer gets lost, reads and trims."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import fakeredis
import pytest

from models.access.limits import Charge, Limit
from models.stream.admission import (
    APPEND,
    Appended,
    BacklogFull,
    Conditions,
    OutcomeUnknown,
    Reply,
    StreamUnreachable,
    TokenReused,
)
from models.stream.appender import RESEND_SECONDS
from models.stream.entry_ids import EntryId, parse_receipt, receipt, received_at
from models.stream.pending import Append, Group
from models.stream.telemetry import TelemetryStream

# Of two shards, the one to which the entries of an owner go.
OWNERS = {0: "4", 1: "0"}


@pytest.fixture
def stream(resources, broker):
    stream = TelemetryStream(replace(resources.settings, redis_timeout_seconds=0.5))
    yield stream
    stream.close()
    broker.flushall()


def test_an_entry_goes_in_is_read_and_is_trimmed(stream):
    first = stream.append(b"one", owner=OWNERS[0])
    second = stream.append(b"two", owner=OWNERS[0])
    assert (first.was_empty, second.was_empty) == (True, False)
    assert [(id_, fields[b"v1"]) for id_, fields in stream.read_after(0, EntryId(0, 0), 10)] == [
        (first.entry_id, b"one"),
        (second.entry_id, b"two"),
    ]
    stream.trim(0, first.entry_id, replaces=EntryId(0, 0))
    assert stream.stored_id(0) == first.entry_id
    assert (stream.backlog(0), stream.oldest(0)) == (1, second.entry_id)
    assert not stream.contains(0, first.entry_id)
    assert stream.backlog(1) == 0


def test_a_late_trim_does_not_set_the_stored_id_back(stream):
    first, second = stream.append(b"one", owner=OWNERS[0]).entry_id, stream.append(b"two", owner=OWNERS[0]).entry_id
    stream.trim(0, first, replaces=EntryId(0, 0))
    stream.trim(0, second, replaces=first)
    stream.trim(0, first, replaces=EntryId(0, 0))
    assert stream.stored_id(0) == second


def test_the_bound_of_the_backlog_is_kept(stream, resources):
    bounded = TelemetryStream(replace(resources.settings, stream_max_entries=6))
    for _ in range(3):
        bounded.append(b"x", owner=OWNERS[0])
    with pytest.raises(BacklogFull):
        bounded.append(b"x", owner=OWNERS[0])
    bounded.append(b"x", owner=OWNERS[1])
    assert (bounded.backlog(0), bounded.backlog(1)) == (3, 1)


def test_a_token_makes_an_append_happen_once(stream):
    once = Conditions("key:1", 60, "f", b"the answer, with blanks")
    first = stream.append(b"x", OWNERS[0], once)
    again = stream.append(b"x", OWNERS[0], replace(once, answer=b"another answer"))
    assert again == Appended(0, first.entry_id, was_empty=False, replayed=True, answer=b"the answer, with blanks")
    with pytest.raises(TokenReused):
        stream.append(b"y", OWNERS[0], replace(once, fingerprint="g"))
    assert stream.backlog(0) == 1


def test_scripts_are_loaded_again_after_redis_lost_them(stream, broker):
    stream.append(b"x", owner=OWNERS[0])
    broker.script_flush()
    stream.append(b"x", owner=OWNERS[0])
    assert stream.backlog(0) == 2


def test_an_append_that_redis_executes_too_late_appends_nothing(stream, broker, servers):
    """Redis stops while the append waits in its socket: the device is answered that nothing was taken, which stays
    true when Redis continues."""
    stream.append(b"x", owner=OWNERS[0])
    broker.execute_command("CLIENT", "PAUSE", int(RESEND_SECONDS * 1000) + 2500)
    started = time.monotonic()
    with pytest.raises((StreamUnreachable, OutcomeUnknown)):
        stream.append(b"late", owner=OWNERS[0])
    assert time.monotonic() - started < RESEND_SECONDS + 2
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
    charge = Charge("owner", Limit(per_second=1.0, burst=1000), readings=1)
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
        started = time.monotonic()
        with pytest.raises(StreamUnreachable):
            stream.append(b"behind it")
        assert time.monotonic() - started < 2
        with suppress(StreamUnreachable, OutcomeUnknown):
            first.result()
    payloads = {
        fields[b"v1"] for shard in range(stream.shards) for _, fields in stream.read_after(shard, EntryId(0, 0), 9)
    }
    assert b"behind it" not in payloads


def test_ids_continue_from_the_id_that_is_set(stream, broker):
    future = EntryId(int(time.time() * 1000) + 3_600_000, 7)
    stream.raise_last_id(0, future)
    assert stream.backlog(0) == 0
    assert stream.append(b"x", owner=OWNERS[0]).entry_id > future
    stream.append(b"x", owner=OWNERS[1])
    stream.raise_last_id(1, future)
    assert stream.append(b"x", owner=OWNERS[1]).entry_id > future


@pytest.mark.parametrize("text", ["3-1795218259495-0", "0-1-999"])
def test_a_receipt_names_shard_and_entry(text):
    shard, entry_id = parse_receipt(text)
    assert receipt(shard, entry_id) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1-2",
        "1-2-3-4",
        "a-2-3",
        "-1-2-3",
        "1-2-3\n",
        "٣-1-1",
        f"1-{1 << 43}-0",
        f"1-5-{1 << 20}",
        "01-5-0",
        "1-5-00",
    ],
)
def test_a_text_that_is_no_receipt_is_none(text):
    assert parse_receipt(text) is None


def test_entries_of_one_millisecond_have_distinct_received_times_in_order():
    times = [received_at(shard, 4, EntryId(1_795_218_259_495, sequence)) for sequence in range(5) for shard in range(4)]
    assert len(set(times)) == len(times)
    assert times == sorted(times)
    assert times[0] // 1000 == times[-1] // 1000 == 1_795_218_259_495


def test_the_outcomes_of_admission_without_a_server(resources):
    """A unit, on fakeredis: what the script returns is what its readers understand."""
    fake = fakeredis.FakeRedis()

    def send(group: Group, deadline_ms: int, bound: int) -> list[Appended | Exception]:
        keys, *rest = group.arguments(deadline_ms, bound)
        group.finish(Reply(*fake.eval(APPEND, keys, *rest)))
        return [outcome(append) for append in group.appends]

    def outcome(append: Append) -> Appended | Exception:
        try:
            return append.wait(0)
        except Exception as error:
            return error

    far = int(time.time() * 1000) + 60_000
    once = Conditions("t", 60, "f", b"answer")
    group = Group(0, plain=[Append(b"a"), Append(b"b")], conditional=[Append(b"c", 0, once), Append(b"d", 0, once)])
    first, second, third, repeat = send(group, far, bound=4)
    assert [appended.was_empty for appended in (first, second, third)] == [True, False, False]
    assert repeat.replayed
    assert repeat.entry_id == third.entry_id
    again = send(Group(0, plain=[Append(b"a"), Append(b"b")], token=group.token), far, bound=4)
    assert [appended.entry_id for appended in again] == [first.entry_id, second.entry_id]
    fourth, full = send(Group(0, plain=[Append(b"e"), Append(b"f")]), far, bound=4)
    assert isinstance(fourth, Appended)
    assert isinstance(full, BacklogFull)
    (late,) = send(Group(0, plain=[Append(b"g")]), 1, bound=9)
    assert isinstance(late, StreamUnreachable)
    assert [fields[b"v1"] for _, fields in fake.xrange("telemetry:{0}")] == [b"a", b"b", b"c", b"e"]


class LossyProxy:
    """A proxy before Redis that can drop the answer to one append and cut the connection."""

    def __init__(self, redis_url: str):
        host, port = redis_url.removeprefix("redis://").split("/")[0].split(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self.lost = 0
        self._lose = False
        self._lost_on: socket.socket | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_next_answer(self) -> None:
        self._lose = True

    def refuse_connections(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept, as close does not
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            for pump in (self._pass_requests, self._pass_answers):
                threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def _pass_requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while request := client.recv(65536):
                if self._lose and b"EVALSHA" in request:
                    self._lose, self._lost_on = False, client
                server.sendall(request)
        server.close()

    def _pass_answers(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while answer := server.recv(65536):
                if self._lost_on is client:
                    self.lost += 1
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(answer)
