"""Entry ids, the receipts made of them, and the received times that follow from them."""

import pytest

from models.stream.entry_ids import EntryId, parse_receipt, receipt


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


@pytest.mark.parametrize("received_at", [1_795_218_259_495_000, 1_795_218_259_495_999])
def test_an_entry_id_is_the_received_time(received_at):
    entry_id = EntryId.of(received_at)
    assert entry_id.received_at == received_at
    assert parse_receipt(receipt(3, entry_id)) == (3, entry_id)
    assert EntryId.of(received_at + 1) > entry_id


def test_ids_that_redis_assigned_are_received_in_their_millisecond():
    assert EntryId(1_795_218_259_495, 200_000).received_at == 1_795_218_259_495_999
