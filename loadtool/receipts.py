"""What became of accepted readings, told from their receipts."""

from bisect import insort
from threading import Lock
from typing import NamedTuple

from loadtool.api import Api, Unreachable


class _Entry(NamedTuple):
    """Compares in the order of the shard's stream."""

    ms: int
    sequence: int
    readings: int
    receipt: str


class Receipts:
    """Receipts that were given out, and how many readings they stand for are stored by now.

    The entries of a shard are stored in their order: the first that is pending is found by bisection, with a
    dozen questions for thousands of receipts.
    """

    def __init__(self, api: Api):
        self._api = api
        self._pending: dict[str, list[_Entry]] = {}
        self._lock = Lock()
        self.stored = 0  # readings
        self.dead_letters = 0  # readings

    @property
    def outstanding(self) -> int:
        """Readings of which it is not known yet that they are stored."""
        with self._lock:
            return sum(entry.readings for entries in self._pending.values() for entry in entries)

    def add(self, receipt: str, readings: int) -> None:
        shard, ms, sequence = receipt.split("-")
        with self._lock:
            insort(self._pending.setdefault(shard, []), _Entry(int(ms), int(sequence), readings, receipt))

    def settle(self) -> None:
        """Asks the API what is stored by now; where it does not answer, what is known stays as it is."""
        for shard in list(self._pending):
            with self._lock:
                entries = list(self._pending[shard])
            try:
                settled, dead = self._settled(entries)
            except Unreachable:
                return
            if not settled:
                continue
            with self._lock:
                gone = set(settled)
                self._pending[shard] = [entry for entry in self._pending[shard] if entry not in gone]
            self.dead_letters += dead
            self.stored += sum(entry.readings for entry in settled) - dead

    def _settled(self, entries: list[_Entry]) -> tuple[list[_Entry], int]:
        """The entries that are stored, and their dead letters.

        Dead letters are counted entry by entry where a question came upon one; in a load of good readings there
        are none, or all are.
        """
        low, high, saw_dead = 0, len(entries), False
        while low < high:
            middle = (low + high) // 2
            dead = self._dead_letters(entries[middle])
            saw_dead = saw_dead or bool(dead)
            low, high = (middle + 1, high) if dead is not None else (low, middle)
        settled = entries[:low]
        return settled, sum(self._dead_letters(entry) or 0 for entry in settled) if saw_dead else 0

    def _dead_letters(self, entry: _Entry) -> int | None:
        """The entry's dead letters; None while it is pending."""
        answer = self._api.get(f"/v1/telemetry/receipts/{entry.receipt}")
        if not answer.is_success:
            raise Unreachable(answer.words)
        return None if answer.body["state"] == "pending" else answer.body["deadLetters"]
