"""Entry ids, the receipts made of them, and the received times that follow from them."""

import pytest

from models.stream.entry_ids import EntryId, parse_receipt, receipt, received_at


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
