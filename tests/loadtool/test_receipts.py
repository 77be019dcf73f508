"""Receipts: how many accepted readings are stored."""

from loadtool.api import Api
from loadtool.receipts import Receipts
from tests.factories import meter, vehicle


def test_receipts_are_counted_in_the_order_of_each_shard(url, client, drain_all):
    receipts = Receipts(Api(url))
    for round_ in range(2):
        for number in range(9):
            answer = client.post("/v1/telemetry", json=[meter(f"M{number}"), vehicle(f"V{number}")]).json
            receipts.add(answer["receipt"], answer["accepted"])
        receipts.refresh()
        assert (receipts.stored, receipts.pending) == (18 * round_, 18)
        drain_all()
        receipts.refresh()
        assert (receipts.stored, receipts.pending) == (18 * (round_ + 1), 0)


def test_dead_letters_do_not_count_as_stored(url, client, drain_all, poison):
    receipts = Receipts(Api(url))
    for _ in range(3):
        receipts.add(client.post("/v1/telemetry", json=[meter(voltage=999.5), vehicle()]).json["receipt"], 2)
    drain_all()
    receipts.refresh()
    assert (receipts.stored, receipts.dead_letters, receipts.pending) == (3, 3, 0)
