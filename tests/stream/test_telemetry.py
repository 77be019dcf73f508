"""The telemetry stream on a real Redis: entries are appended, read and trimmed."""

import time
from dataclasses import replace

import pytest

from models.stream.admission import Appended, BacklogFull, Conditions, TokenReused
from models.stream.entry_ids import EntryId
from models.stream.telemetry import TelemetryStream
from tests.stream.owners import OWNERS


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


def test_ids_continue_from_the_id_that_is_set(stream, broker):
    future = EntryId(int(time.time() * 1000) + 3_600_000, 7)
    stream.raise_last_id(0, future)
    assert stream.backlog(0) == 0
    assert stream.append(b"x", owner=OWNERS[0]).entry_id > future
    stream.append(b"x", owner=OWNERS[1])
    stream.raise_last_id(1, future)
    assert stream.append(b"x", owner=OWNERS[1]).entry_id > future
