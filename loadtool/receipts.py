"""Counts how many accepted readings are stored, by their receipts."""

from bisect import insort
from threading import Lock
from typing import NamedTuple

from loadtool.api import Api
from loadtool.connection import NoAnswer


class _Entry(NamedTuple):
    """Sorts in the order of the shard's stream."""

    ms: int
    sequence: int
    readings: int
    receipt: str


class Receipts:
    """The receipts of a load, and the number of their readings that are stored, dead-lettered or pending.

    A shard stores its entries in order. So the first pending one is found by bisection, with a dozen requests for
    thousands of receipts.
    """

    def __init__(self, api: Api):
        self._api = api
        self._pending: dict[str, list[_Entry]] = {}
        self._lock = Lock()
        self.stored = 0  # readings
        self.dead_letters = 0  # readings

    @property
    def pending(self) -> int:
        """Readings that were not stored at the last refresh."""
        with self._lock:
            return sum(entry.readings for entries in self._pending.values() for entry in entries)

    def add(self, receipt: str, readings: int) -> None:
        shard, ms, sequence = receipt.split("-")
        with self._lock:
            insort(self._pending.setdefault(shard, []), _Entry(int(ms), int(sequence), readings, receipt))

    def refresh(self) -> None:
        """Asks the API which entries are stored by now; the counts stay as they are if it does not answer."""
        for shard in list(self._pending):
            with self._lock:
                entries = list(self._pending[shard])
            try:
                processed, dead_letters = self._processed(entries)
            except NoAnswer:
                return
            if not processed:
                continue
            with self._lock:
                done = set(processed)
                self._pending[shard] = [entry for entry in self._pending[shard] if entry not in done]
            self.dead_letters += dead_letters
            self.stored += sum(entry.readings for entry in processed) - dead_letters

    def _processed(self, entries: list[_Entry]) -> tuple[list[_Entry], int]:
        """The entries that are no longer pending, and the number of their dead letters.

        Entries are counted one by one only if the bisection finds a dead letter: a load of good readings has none.
        """
        low, high, has_dead_letters = 0, len(entries), False
        while low < high:
            middle = (low + high) // 2
            dead_letters = self._dead_letters(entries[middle])
            has_dead_letters = has_dead_letters or bool(dead_letters)
            low, high = (middle + 1, high) if dead_letters is not None else (low, middle)
        processed = entries[:low]
        return processed, sum(self._dead_letters(entry) or 0 for entry in processed) if has_dead_letters else 0

    def _dead_letters(self, entry: _Entry) -> int | None:
        """The entry's dead letters; None while it is pending."""
        answer = self._api.get(f"/v1/telemetry/receipts/{entry.receipt}")
        if not answer.is_success:
            raise NoAnswer(answer.summary)
        body = answer.body
        return None if body["state"] == "pending" else body["deadLetters"]
