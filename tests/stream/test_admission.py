"""The append script, on fakeredis: what it returns is what its readers understand."""

import time

import fakeredis

from models.stream.admission import APPEND, Appended, BacklogFull, Conditions, Reply, StreamUnreachable
from models.stream.pending import Append, Group


def test_each_append_gets_its_own_outcome():
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
