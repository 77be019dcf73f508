"""The core of ingest by itself: outside an application, without a request."""

from dataclasses import replace

import pytest

from models.access.keys import Key
from models.access.limits import Limit, LimitReached
from models.readings import Entry, MeterReading, decode_entry, to_microseconds
from models.resources import Resources
from models.settings import DIRECT_SHARD
from models.stream.admission import StreamUnreachable, TokenReused
from models.stream.entry_ids import NO_ENTRY, parse_receipt
from models.stream.telemetry import TelemetryStream
from tests.factories import ago
from webapp.ingest.acceptance import Idempotency, accept

SENDER = Key("k1", "", frozenset({"ingest"}), None, None, None, None, None, "owner", b"secret")


@pytest.fixture(autouse=True)
def _drained(drain_all):
    yield
    drain_all()


@pytest.fixture
def rung(monkeypatch) -> list[int]:
    shards: list[int] = []
    monkeypatch.setattr("webapp.ingest.acceptance.ring", shards.append)
    return shards


def entry(*devices: str) -> Entry:
    at = to_microseconds(ago(minutes=1))
    return Entry([MeterReading(device, at, 1.5, 230.0) for device in devices or ("M1",)], [], "a request")


def test_an_entry_is_appended_and_the_first_of_an_empty_shard_rings(resources, rung):
    shard, entry_id = parse_receipt(accept(resources, entry("M1", "M2")).receipt)
    ((found, fields),) = resources.stream.read_after(shard, NO_ENTRY, 10)
    assert (found, decode_entry(fields[b"v1"])) == (entry_id, entry("M1", "M2"))
    assert rung == [shard]


def test_a_repeat_gets_the_first_answer_and_rings_no_bell(resources, rung):
    once = Idempotency("delivery-1", "fingerprint", b"first answer")
    first = accept(resources, entry(), SENDER, once)
    again = accept(resources, entry(), SENDER, replace(once, answer=b"second answer"))
    assert (first.first_answer, again.first_answer) == (None, b"first answer")
    assert first.receipt == again.receipt
    assert len(rung) == 1
    other_sender = replace(SENDER, owner="another owner")
    assert accept(resources, entry(), other_sender, once).receipt != first.receipt
    with pytest.raises(TokenReused):
        accept(resources, entry(), SENDER, replace(once, fingerprint="another"))


def test_readings_are_charged_to_the_sender(resources):
    sender = replace(SENDER, readings=Limit(per_second=0.001, burst=2))
    assert accept(resources, entry("M1", "M2"), sender).allowance.remaining == 0
    with pytest.raises(LimitReached):
        accept(resources, entry(), sender)


def test_without_redis_only_an_entry_without_idempotency_is_stored_directly(resources, database):
    settings = replace(resources.settings, redis_url="redis://127.0.0.1:1/0", ingest_fallback="direct")
    without_redis = Resources(settings, resources.database, TelemetryStream(settings))
    assert parse_receipt(accept(without_redis, entry()).receipt)[0] == DIRECT_SHARD
    assert database.execute("select count(*) from meter_readings_history").fetchone() == (1,)
    with pytest.raises(StreamUnreachable):
        accept(without_redis, entry(), SENDER, Idempotency("delivery-1", "fingerprint", b""))
