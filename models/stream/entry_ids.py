"""Stream entry ids (`1795218259495-0`: Redis's clock in ms, a sequence number) and the receipts made of them.

A receipt, `<shard>-<ms>-<sequence>`, names the entry of one request.
"""

import re
from typing import NamedTuple

_NUMBER = r"(0|[1-9]\d{0,15})"
_RECEIPT = re.compile(f"{_NUMBER}-{_NUMBER}-{_NUMBER}", re.ASCII)
_MAX_SHARD, _MS_BITS, _SEQUENCE_BITS = 99, 42, 20


class EntryId(NamedTuple):
    """Compares in stream order."""

    ms: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.sequence}"

    @property
    def next(self) -> "EntryId":
        return EntryId(self.ms, self.sequence + 1)

    @property
    def number(self) -> int:
        """One integer for an index: 41 bits of milliseconds, 20 of sequence, in stream order."""
        return (self.ms << _SEQUENCE_BITS) + self.sequence


NO_ENTRY = EntryId(0, 0)  # the position before the first entry


def parse_entry_id(text: str | bytes) -> EntryId:
    ms, sequence = (text if isinstance(text, str) else text.decode()).split("-")
    return EntryId(int(ms), int(sequence))


def receipt(shard: int, entry_id: EntryId) -> str:
    return f"{shard}-{entry_id}"


def parse_receipt(text: str) -> tuple[int, EntryId] | None:
    """The shard and the entry of a receipt; None if no receipt has this form."""
    match = _RECEIPT.fullmatch(text)
    if match is None:
        return None
    shard, ms, sequence = map(int, match.groups())
    if shard > _MAX_SHARD or ms >> _MS_BITS or sequence >> _SEQUENCE_BITS:
        return None
    return shard, EntryId(ms, sequence)


def received_at(shard: int, shards: int, entry_id: EntryId) -> int:
    """When Redis accepted the entry, in microseconds since 1970: the order in which submissions were accepted.

    An id has milliseconds. The microseconds are the entry's place within its millisecond and its shard, so that no
    two entries of one millisecond have the same time.
    """
    return entry_id.ms * 1000 + min(entry_id.sequence * shards + shard, 999)
