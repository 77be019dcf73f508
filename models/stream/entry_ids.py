"""Stream entry ids and the receipts made of them.

An id is the received time of its entry in microseconds, as Redis writes ids: `1795218259495-42` is millisecond
1795218259495, microsecond 42. The append script gives each entry a later time than all entries before it, in whichever
shard (models/stream/admission.py). A receipt, `<shard>-<ms>-<sequence>`, names the entry of one request; one that was
given to an API key ends with `-` and a seal (models/access/keys.py).
"""

import re
from typing import NamedTuple

_NUMBER = r"(0|[1-9]\d{0,15})"
_RECEIPT = re.compile(f"{_NUMBER}-{_NUMBER}-{_NUMBER}(?:-[0-9a-f]{{16}})?", re.ASCII)
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

    @property
    def received_at(self) -> int:
        """When the entry was accepted, in microseconds since 1970: the order in which submissions were accepted.

        Of entries whose ids Redis assigned, as it did up to version 0.1, only those of one shard are in order within
        a millisecond.
        """
        return self.ms * 1000 + min(self.sequence, 999)

    @classmethod
    def of(cls, received_at: int) -> "EntryId":
        """The id of an entry accepted at this time."""
        return cls(*divmod(received_at, 1000))


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
